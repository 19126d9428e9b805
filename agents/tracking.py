"""Following a demonstration without actions in the embeddings of a world model: no policy, no reward, no training.

The frames of the demonstration are embedded one by one. Its latent states are not filtered: their memory contains the
actions, which nobody knows. An imagined state has the embedding that the model predicts for it, or that of the
observation that it predicts; with the cost "temporal" C counts the steps that lead to the frame, as a world model
with a `temporal_distance` has learnt to. Reward of an imagined state is minus its distance to the demonstration,

    r_t = - C(e(s_t), e(o_{j + t})),  t = 1 .. H,           j: where in the demonstration the agent is now

or what a matching of the horizon gives it (`agents.progress`): its share of the optimal transport, or ORCA's progress.
Transport with the cost "temporal" is ZILOT (Rupf et al. 2024, arXiv 2410.08751) but for its rows, which there are all
that was visited, and its columns, which there are few goals on the way.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from agents.imagination import Reward
from agents.optimal_transport import COSTS, cost_matrix
from agents.planning import Modules, Planner, repeat
from agents.progress import ORCA, Matching, Transport
from worldmodels.architecture import EMBEDDING
from worldmodels.structures import Array, LatentState
from worldmodels.world_model import WorldModel

REPLAYS = ("time", "nearest")
TEMPORAL = "temporal"


def _steps(cost: Array, rows: Array, columns: Array) -> Array:
    """Returns minus the costs of the pairs of the same time."""
    del rows, columns
    return -jnp.diagonal(cost)


DISTANCES: dict[str, Matching] = {"steps": _steps, "transport": Transport(), "orca": ORCA()}


@dataclasses.dataclass(frozen=True)
class Tracking(Planner):
    """A planner whose imagined states follow what a demonstration shows next.

    Attributes:
      replay: "time": the demonstration is as old as the episode; "nearest": the agent is where its frame is most alike.
        Frames with less than a horizon behind them are not looked at then, or the agent would wait at the last one. Of
        several demonstrations it is the one with the closest frame.
      distance: "steps" compares the states one by one; "transport" forgives those that come early or late; "orca"
        rewards having passed what comes next in order.
      cost: "cosine" or "euclidean", between embeddings; "temporal", the steps that lead there, see
        `worldmodels.temporal_distance`.
    """

    replay: str = "time"
    distance: str = "steps"
    cost: str = "euclidean"
    uses_demonstrations: ClassVar[bool] = True

    def __post_init__(self):
        for name, known in (
            ("replay", REPLAYS),
            ("distance", tuple(DISTANCES)),
            ("cost", (*COSTS, TEMPORAL)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"Unknown {name} {getattr(self, name)!r}. Known: {', '.join(known)}.")

    def prepare(self, modules: Modules) -> Array:
        """Returns the embeddings of the demonstrations, [K, M, E], or what they are goals as, [K, M, size]."""
        model = modules.model

        def embedded(episode):
            if self.cost == TEMPORAL:
                return model.temporal_distance.towers.psi(model.encode(episode.observation))
            if EMBEDDING in model.targets:
                return model.with_embedding(episode).observation[EMBEDDING]
            return model.encode(episode.observation)

        return jax.lax.map(embedded, modules.demonstrations)

    def costs(self, model: WorldModel, features: Array, shown: Array) -> Array:
        """Returns C between states, features [N, F], and what `prepare` has made of frames, [M, E]: [N, M]."""
        if self.cost == TEMPORAL:
            told = model.temporal_distance
            assert told is not None, "`check` has let a model without a temporal distance through"
            own = told.towers.phi(features)
            return jnp.minimum(cost_matrix(own, shown, "euclidean"), 1.0)
        return cost_matrix(imagined_embedding(model, features), shown, self.cost)

    def rewards(self, model: WorldModel, start: LatentState, clock: Array, goal: Any) -> Reward:
        """Returns minus the distance of states 1 .. H to the part of the demonstration that comes next."""
        last, horizon = goal.shape[1] - 1, self.settings.horizon
        now = repeat(start, 1).features
        costs = self.costs(model, now, goal.reshape(-1, goal.shape[-1])).reshape(goal.shape[:2])
        frames = jnp.arange(last + 1)
        if self.replay == "time":
            eligible = frames == jnp.minimum(clock, last)
        else:
            eligible = frames <= max(last - horizon, 0)
        best = jnp.argmin(jnp.where(jnp.broadcast_to(eligible[None], costs.shape), costs, jnp.inf))
        which, frame = jnp.unravel_index(best, costs.shape)
        ahead = goal[which, jnp.minimum(frame + 1 + jnp.arange(horizon), last)]

        matching, even = DISTANCES[self.distance], jnp.full(horizon, 1.0 / horizon)

        def reward(model, imagined):
            def scored(features):
                return matching(self.costs(model, features, ahead), even, even)

            return jnp.pad(jax.vmap(scored)(imagined.states.features[:, 1:]), ((0, 0), (1, 0)))

        return reward

    def check_goal(self, modules: Modules) -> None:
        """Raises a ValueError without demonstrations, or if the model does not predict what it reads."""
        model = modules.model
        if modules.demonstrations is None:
            raise ValueError(
                "Tracking follows demonstrations; pass --config.demonstrations=DIR (their actions are not looked at)."
            )
        if self.cost == TEMPORAL:
            if model.temporal_distance is None:
                raise ValueError(
                    "cost=temporal needs a world model that has learnt how many steps lead to a frame; train one with "
                    "--config.world_model.temporal_distance.size=32."
                )
            return
        missing = [name for name in model.inputs if name not in model.targets]
        if missing and EMBEDDING not in model.targets:
            raise ValueError(
                f"Tracking needs a world model that predicts what it reads; this one does not predict "
                f"{', '.join(missing)}. Train one whose set-up predicts them, or with world_model.predict_emb=True."
            )


def imagined_embedding(model: WorldModel, features: Array) -> Array:
    """Returns the embedding [..., E] of what the model expects to see in a state, [..., F]."""
    if EMBEDDING in model.targets:
        return model.decoders[EMBEDDING](features).mean()
    expected = model.predict(features, model.inputs)
    # Images are whole numbers to an encoder.
    images = {
        name: jnp.uint8(255 * jnp.clip(expected[name], 0, 1) + 0.5) for name in model.encoder.image_names
    }
    return model.encode(expected | images)
