"""The programs that the benchmark measures, built as the mains build them, on random data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from agents.actors import FilterActor
from aime.offline import make_imitation_update
from experiments import world_models
from experiments.pretrain import create_states, optimizer_from
from worldmodels.dataset import SequenceDataset, sample
from worldmodels.episodes import Episode
from worldmodels.losses import elbo_loss
from worldmodels.training import TrainState, make_train_loop, make_update, select_seed

SEED = 0


class Program:
    """A training loop with its state: every call makes `num_updates` updates and returns their metrics.

    Attributes:
      num_updates: per call.
      loop: jitted `(state, *args) -> (state, metrics)`, donates its state.
      memory: bytes of arguments and temporaries, once compiled.
    """

    def __init__(self, loop: Callable, state: TrainState, args: tuple, num_updates: int):
        self.num_updates, self.loop, self.state, self.args = num_updates, loop, state, args
        self._compiled = None

    def compile(self) -> Program:
        """Compiles, from the persistent cache if it is there."""
        self._compiled = self.loop.lower(self.state, *self.args).compile()
        return self

    @property
    def memory(self) -> int | None:
        stats = self._compiled.memory_analysis()
        return stats and stats.temp_size_in_bytes + stats.argument_size_in_bytes

    def __call__(self):
        self.state, metrics = self._compiled(self.state, *self.args)
        return metrics


def random_episodes(config: Mapping) -> list[Episode]:
    """Episodes of noise with the sensors and actions of the config; a size (y, x) is that of images."""
    rng = np.random.default_rng(SEED)
    length = config["episode_length"] + 1
    is_first, is_last = np.zeros((2, length), bool)
    is_first[0], is_last[-1] = True, True
    flags = dict(is_first=is_first, is_last=is_last, is_terminal=np.zeros(length, bool))
    return [
        Episode(
            {name: random_sensor(rng, length, size) for name, size in config["sensors"].items()}
            | {"pre_action": rng.uniform(-1, 1, (length, config["action_size"])).astype(np.float32)}
            | {"reward": np.zeros(length, np.float32), **flags},
            {},
        )
        for _ in range(config["num_episodes"])
    ]


def random_sensor(rng: np.random.Generator, length: int, size: int | Sequence[int]) -> np.ndarray:
    """[T, d] float32, or images [T, y, x, 3] uint8."""
    if isinstance(size, int):
        return rng.normal(size=(length, size)).astype(np.float32)
    return rng.integers(0, 256, (length, *size, 3), np.uint8)


def build_world_models(config: Mapping, size: str, num_seeds: int):
    """World models of a size of the config, leaves [num_seeds, ...]."""
    episodes = random_episodes(config)
    options = config[size]["pretrain"]["world_model"]
    arch = world_models.architecture(options, config["env"], config["setup"], episodes)
    return world_models.stacked(lambda key: world_models.build(arch, key, episodes), num_seeds)


def build_policies(config: Mapping, size: str, models, num_seeds: int):
    """Policies of a size of the config, leaves [num_seeds, ...]."""
    arch = config[size]["imitate"]["policy"] | {
        "in_size": models.feature_size,
        "action_size": models.action_size,
    }
    return world_models.stacked(lambda key: world_models.build_policy(arch, key), num_seeds)


def world_model_program(config: Mapping, size: str, num_seeds: int | None) -> Program:
    """Updates of `experiments.pretrain`; `num_seeds=None` has no axis of seeds."""
    options = config[size]["pretrain"]
    optimizer = optimizer_from(options["optimizer"], options["num_updates"])
    update = make_update(functools.partial(elbo_loss, **options["loss"]), optimizer)
    models = build_world_models(config, size, num_seeds or 1)
    return _program(config, options, update, models, optimizer, (), num_seeds)


def policy_program(config: Mapping, size: str, num_seeds: int | None) -> Program:
    """Updates of `experiments.imitate`."""
    options = config[size]["imitate"]
    optimizer = optimizer_from(options["optimizer"], options["num_updates"])
    loss = options["loss"] | {"nll_reweight": config[size]["pretrain"]["loss"]["nll_reweight"]}
    models = build_world_models(config, size, num_seeds or 1)
    policies = build_policies(config, size, models, num_seeds or 1)
    return _program(
        config, options, make_imitation_update(optimizer, **loss), policies, optimizer, (models,), num_seeds
    )


def _program(config, options, update, trained, optimizer, frozen, num_seeds) -> Program:
    episodes = random_episodes(config)
    # Demonstrations, with which models are frozen, come without actions.
    data = SequenceDataset.create(
        episodes, length=options["length"], sensors=list(config["sensors"]), with_actions=not frozen
    )
    state = create_states(trained, optimizer, SEED, num_seeds or 1)
    if num_seeds is None:
        state, frozen = select_seed(state, 0), select_seed(frozen, 0)
    draw = functools.partial(
        sample, batch_size=options["batch_size"], first_fraction=options["first_fraction"]
    )
    num_updates = config["updates_per_dispatch"]
    return Program(
        make_train_loop(update, draw, num_updates, num_seeds=num_seeds), state, (data, *frozen), num_updates
    )


def sampling_call(config: Mapping, size: str, num_batches: int) -> Callable:
    """A call that draws `num_batches` batches inside one program."""
    options = config[size]["pretrain"]
    data = SequenceDataset.create(
        random_episodes(config), length=options["length"], sensors=list(config["sensors"])
    )

    @jax.jit
    def draw(data, key):
        def step(total, key):
            batch = sample(data, key, options["batch_size"])
            return total + sum(leaf.sum() for leaf in jax.tree.leaves(batch)), None

        return jax.lax.scan(step, 0.0, jax.random.split(key, num_batches))[0]

    return lambda: draw(data, jax.random.key(SEED))


def acting_call(config: Mapping, size: str, num_envs: int) -> Callable:
    """A call that acts once for `num_envs` environments, from records as NumPy arrays to actions as such."""
    models = build_world_models(config, size, 1)
    policy = select_seed(build_policies(config, size, models, 1), 0)
    actor = FilterActor(select_seed(models, 0), policy, num_envs, jax.random.key(SEED))
    rng = np.random.default_rng(SEED)
    records = {name: random_sensor(rng, num_envs, size) for name, size in config["sensors"].items()}
    records["is_first"] = np.zeros(num_envs, bool)
    return lambda: actor(records)
