"""What a run of Dreamer learns: world model, policy and critic, new or pretrained, and the replay they learn from."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from agents.dreamer import (
    DreamerState,
    Optimizers,
    create_dreamer,
    freeze,
    make_dreamer_update,
    make_model_update,
)
from agents.imagination import ImaginationOptions, value_networks
from agents.plan2explore import rewards_of, side_networks
from experiments.data.members import JointUpdates, ModelLearner
from experiments.envs.sensors import observation_setup
from experiments.models import architectures, files
from worldmodels import export
from worldmodels.data.episodes import Episode
from worldmodels.data.replay import Replay, append_episode, sample
from worldmodels.devices.sharding import Placement, place
from worldmodels.export import Models
from worldmodels.losses import LossOptions
from worldmodels.training import Metrics, make_optimizer, make_train_loop, stack_seeds


class Learner(ModelLearner[DreamerState]):
    """Learns from the episodes that it is given to remember.

    Args:
      config: of the run. episodes: the first ones; they decide sizes and statistics, and are not remembered.

    Attributes:
      state, placement: see `ModelLearner`.
      updates_owed: that the steps have earned and that are not made yet.
      stage: (update, what draws its batches).
      learns: see `experiments.data.rounds.Learner`, as for `position`.
    """

    learns = "before"

    def __init__(self, config: dict, episodes: list[Episode]):
        self._config = config
        self.placement = place(config["devices"], batch_sizes=[config["batch_size"]])
        rewards = rewards_of(config["reward"])
        self._arguments = arguments_of(config, episodes, list(rewards))
        self.state, optimizers = create(config, self._arguments, episodes)
        replay = create_replay(config, self._arguments["world_model"], episodes)
        self._replay = self.placement.put_data(replay)
        self.updates_owed = 0.0
        losses = LossOptions(**config["loss"]), ImaginationOptions(**config["imagination"])
        options = {name: config[name] for name in ("reward", "target_rate", "batch_size", "first_fraction")}
        programs = make_programs(optimizers, *losses, placement=self.placement, **options)
        self.stage, self._loop, self._model_loop = programs

    def share_programs(self, other: Learner) -> None:
        """Learns with the compiled loops of a learner that differs in its seed alone."""
        self._loop, self._model_loop = other._loop, other._model_loop

    @property
    def replay(self) -> Replay:
        """The episodes that are remembered."""
        return self._replay

    @property
    def position(self) -> dict:
        """JSON values that belong to the state."""
        return {"updates_owed": self.updates_owed}

    @position.setter
    def position(self, position: dict) -> None:
        self.updates_owed = position["updates_owed"]

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Appends episodes to the replay; their steps earn updates."""
        for episode in episodes:
            self._replay = self.placement.put_data(append_episode(self._replay, episode))
        self.updates_owed += self.earned(episodes)

    def earned(self, episodes: Sequence[Episode]) -> float:
        """Returns how many updates the steps of episodes earn."""
        return self._config["updates_per_step"] * sum(episode.length for episode in episodes)

    def learn(self) -> Metrics:
        """Makes the updates that are owed, in whole dispatches; returns their mean metrics."""
        return self._run(self._loop, self.dispatches())

    def dispatches(self) -> list[int]:
        """Returns how many updates each program of a round makes, and counts them as made."""
        size = self._config["updates_per_dispatch"]
        number = int(self.updates_owed // size)
        self.updates_owed -= number * size
        return [size] * number

    def pretrain_model(self, num_updates: int) -> Metrics:
        """Updates of the world model alone."""
        dispatches, rest = divmod(num_updates, self._config["updates_per_dispatch"])
        sizes = [self._config["updates_per_dispatch"]] * dispatches + [rest] * (rest > 0)
        return self._run(self._model_loop, sizes)

    def _run(self, make_loop: Callable, sizes: list[int]) -> Metrics:
        rows = []
        for size in sizes:
            self.state, metrics = make_loop(size)(self.state, self._replay)
            rows.append(jax.device_get(metrics))
        return {name: np.mean([row[name] for row in rows]) for name in rows[0]} if rows else {}

    def save(self, folder: pathlib.Path) -> None:
        """Writes model, policy and critic where `experiments.models.loading.load_run` finds them."""
        loss = self._config["loss"]
        models = Models(self._arguments, self.model, policy=self.policy, critic=self.critics, loss=loss)
        files.save(folder, self._config, models)


@functools.lru_cache(maxsize=8)
def make_programs(
    optimizers: Optimizers,
    model_loss: LossOptions,
    imagination: ImaginationOptions,
    *,
    reward: str,
    target_rate: float,
    batch_size: int,
    first_fraction: float,
    placement: Placement,
) -> tuple[tuple[Callable, Callable], Callable, Callable]:
    """Returns ((update, what draws its batches), number of updates -> loop of it, the same of the model alone).

    They are the same for equal arguments, so that runs of equal settings in one process, such as one that continues,
    compile once.
    """
    draw = functools.partial(sample, batch_size=batch_size, first_fraction=first_fraction)
    update = make_dreamer_update(
        optimizers,
        rewards=rewards_of(reward),
        model_loss=model_loss,
        imagination_options=imagination,
        target_rate=target_rate,
    )
    model_update = make_model_update(optimizers, model_loss=model_loss)

    def loops_of(update: Callable) -> Callable:
        return functools.cache(lambda number: make_train_loop(update, draw, number, placement=placement))

    return (update, draw), loops_of(update), loops_of(model_update)


def joint_updates(learners: Sequence[Learner]) -> JointUpdates:
    """Returns what makes the updates of several learners, each from its own replay, in one program."""
    update, draw = learners[0].stage
    make_loop = functools.cache(
        lambda count: make_train_loop(update, draw, count, num_seeds=len(learners), data_axes=0)
    )
    return JointUpdates(learners, make_loop, lambda: stack_seeds([learner.replay for learner in learners]))


def arguments_of(config: dict, episodes: list[Episode], rewards: list[str]) -> dict[str, dict]:
    """{part: constructor arguments} of world model, policy and critic."""
    options = config["world_model"]
    side = side_networks(config["reward"], ensemble=options["ensemble"], reward_probe=options["reward_probe"])
    if config["model"]:
        model = pretrained_architecture(config, side)
        architectures.check_body(model, episodes, f"episodes of {config['env']}")
    else:
        model = architectures.world_model(options | side, config["env"], config["setup"], episodes)
    in_size, read_size = architectures.policy_sizes(model)
    policy = dict(config["policy"], in_size=in_size, action_size=read_size)
    critic = dict(config["critic"], rewards=rewards, in_size=in_size, out_size=1)
    return {"world_model": model, "policy": policy, "critic": critic}


def pretrained_architecture(config: dict, side: dict) -> dict:
    """Adds the side networks and the termination head that this run asks for to the pretrained model's arguments.

    Raises:
      ValueError: the model reads other sensors than those of the set-up of this run.
    """
    options = config["world_model"]
    model = files.load(config["model"], "world_model").arguments["world_model"]
    inputs = observation_setup(config["env"], config["setup"]).inputs
    if set(inputs) != set(model["inputs"]):
        raise ValueError(
            f"The pretrained model reads {', '.join(model['inputs'])}, set-up {config['setup']!r} of "
            f"{config['env']!r} {', '.join(inputs)}; choose the model's set-up with --config.setup=NAME."
        )
    # A head that the model lacks is one of this config, and starts from scratch.
    binary = model.get("binary") or options.get("binary")
    return model | side | dict(predict_terminal=options["predict_terminal"], binary=binary)


def create(config: dict, archs: dict[str, dict], episodes: list[Episode]) -> tuple[DreamerState, Optimizers]:
    """Creates the first state and the optimizers; parts that the config names come from runs."""
    keys = jax.random.split(jax.random.key(config["seed"]), 4)
    model_arch, policy_arch, critic_arch = (archs[name] for name in ("world_model", "policy", "critic"))
    model = architectures.build_world_model(model_arch, keys[0], episodes)
    policy = export.build_policy(policy_arch, keys[1])
    rewards, size = critic_arch["rewards"], critic_arch["in_size"]
    networks, targets = value_networks(rewards, size, keys[2], **config["critic"]), None
    adam = {n: make_optimizer(**config[f"{n}_optimizer"]) for n in ("model", "policy", "critic")}
    if config["model"]:
        pretrained = files.load(config["model"], "world_model").seed(0).world_model
        model, adopted = files.adopt(model, pretrained)
        if config["freeze_pretrained_parameters"]:
            adam["model"] = freeze(adam["model"], adopted)
    elif config["freeze_pretrained_parameters"]:
        raise ValueError("There is nothing to freeze without a pretrained model; pass --config.model=DIR.")
    if config["policy_from"]:
        policy = files.policy_in_place_of(policy, config["policy_from"], 0, "policy_from")
    if config["critic_from"]:
        networks, targets = files.critic_in_place_of(networks, config["critic_from"], 0, "critic_from")
    optimizers = Optimizers(**adam)
    options = ImaginationOptions(**config["imagination"])
    state = create_dreamer(model, policy, networks, optimizers, keys[3], options)
    if targets is not None:
        state = state.replace(critic=state.critic.replace(target=targets))
    return state, optimizers


def create_replay(config: dict, arch: dict, episodes: list[Episode]) -> Replay:
    """Returns an empty replay for all episodes of the run, or of the capacity that the config asks for."""
    records = max(config["length"], *(episode.num_records for episode in episodes))
    rounds = -(-config["num_episodes"] // config["num_envs"])
    capacity = config["replay_capacity"] or rounds * config["num_envs"] * records
    sensors = [name for name in arch["sizes"] if name in episodes[0].records]
    return Replay.create(
        episodes[0], capacity=max(capacity, records), length=config["length"], sensors=sensors
    )
