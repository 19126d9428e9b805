"""The programs that the benchmark measures, built as the mains build them, on random data."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from agents.actors import FilterActor, act, initial_actor_state
from agents.plan_search import PlanSettings
from agents.planning import Planner, planning_actor
from aime.losses import AIMEOptions
from aime.offline import make_imitation_update
from experiments.models import architectures
from experiments.runs.training import create_states, optimizer_from
from worldmodels import convolution as convolutions
from worldmodels import export
from worldmodels.data.dataset import SequenceDataset, sample
from worldmodels.data.episodes import Episode, load_episodes, write_episode
from worldmodels.data.loops import Loops, make_loops
from worldmodels.data.storage import open_dataset
from worldmodels.data.streaming import StreamedDataset
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.training import TrainState, make_update, select_seed

SEED = 0


class Program:
    """A training loop with its state: every call makes `num_updates` updates and returns their metrics.

    Attributes:
      num_updates: per call.
      loop: `(state, *args) -> (state, metrics)`, donates its state; jitted where the data are on the device.
      memory: bytes of arguments and temporaries, once compiled; None where the data stream from the host.
    """

    def __init__(self, loops: Loops, state: TrainState, num_updates: int):
        self.num_updates, self.state, self.args = num_updates, state, loops.args
        self.loop = loops.make(num_updates)
        self._compiled: jax.stages.Compiled | None = None

    @property
    def streams(self) -> bool:
        """True if the data are on the host."""
        return isinstance(self.args[0][0], StreamedDataset)

    def compile(self, options: dict | None = None) -> Program:
        """Compiles with options of XLA, from the cache if it is there; streamed loops do so in their first call."""
        if isinstance(self.loop, jax.stages.Wrapped):
            self._compiled = self.loop.lower(self.state, *self.args).compile(options)
        return self

    @property
    def memory(self) -> int | None:
        if self._compiled is None:
            return None
        stats = self._compiled.memory_analysis()
        return stats and stats.temp_size_in_bytes + stats.argument_size_in_bytes

    def __call__(self):
        self.state, metrics = (self._compiled or self.loop)(self.state, *self.args)
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


def with_dtype(config: Mapping, size: str, options: Sequence[str]) -> dict:
    """Returns the config with a world model of this size that computes in bfloat16, if the options say so."""
    if "bfloat16" not in options:
        return dict(config)
    pretrain = config[size]["pretrain"]
    world_model = pretrain["world_model"] | {"compute_dtype": "bfloat16"}
    return {**config, size: config[size] | {"pretrain": pretrain | {"world_model": world_model}}}


def build_world_models(config: Mapping, size: str, num_seeds: int, **changes):
    """World models of a size of the config, leaves [num_seeds, ...]; `changes` are options of the `WorldModel`."""
    episodes = random_episodes(config)
    options = config[size]["pretrain"]["world_model"] | changes
    arch = architectures.world_model(options, config["env"], config["setup"], episodes)
    return architectures.stacked(lambda key: architectures.build_world_model(arch, key, episodes), num_seeds)


def build_policies(config: Mapping, size: str, models, num_seeds: int):
    """Policies of a size of the config, leaves [num_seeds, ...]."""
    arch = config[size]["imitate"]["policy"] | {
        "in_size": models.feature_size,
        "action_size": models.read_size,
    }
    return architectures.stacked(lambda key: export.build_policy(arch, key), num_seeds)


def world_model_program(
    config: Mapping, size: str, num_seeds: int | None, storage: str = "device"
) -> Program:
    """Updates of `pretrain`; `num_seeds=None` has no axis of seeds, `storage` is where the data lie."""
    options = config[size]["pretrain"]
    optimizer = optimizer_from(options["optimizer"], options["num_updates"])
    update = make_update(functools.partial(elbo_loss, options=LossOptions(**options["loss"])), optimizer)
    models = build_world_models(config, size, num_seeds or 1)
    return _program(config, options, update, models, optimizer, (), num_seeds, storage)


def policy_program(config: Mapping, size: str, num_seeds: int | None, storage: str = "device") -> Program:
    """Updates of `imitate`."""
    options = config[size]["imitate"]
    optimizer = optimizer_from(options["optimizer"], options["num_updates"])
    loss = AIMEOptions(**options["loss"], nll_reweight=config[size]["pretrain"]["loss"]["nll_reweight"])
    models = build_world_models(config, size, num_seeds or 1)
    policies = build_policies(config, size, models, num_seeds or 1)
    update = make_imitation_update(optimizer, loss)
    return _program(config, options, update, policies, optimizer, (models,), num_seeds, storage)


def _program(config, options, update, trained, optimizer, frozen, num_seeds, storage) -> Program:
    # Demonstrations, with which models are frozen, come without actions.
    windows = dict(length=options["length"], sensors=list(config["sensors"]), with_actions=not frozen)
    data = open_dataset(stored_episodes(config, storage), storage=storage, **windows)
    state = create_states(trained, optimizer, SEED, num_seeds or 1)
    if num_seeds is None:
        state, frozen = select_seed(state, 0), select_seed(frozen, 0)
    draw = {name: options[name] for name in ("batch_size", "first_fraction")}
    loops = make_loops(update, (data,), frozen, num_seeds=num_seeds, **draw)
    return Program(loops, state, config["updates_per_dispatch"])


def stored_episodes(config: Mapping, storage: str) -> list[Episode]:
    """`random_episodes`, their images in files where they shall stay on disk; the system removes those in time."""
    episodes = random_episodes(config)
    if storage != "disk":
        return episodes
    folder = tempfile.mkdtemp(prefix="benchmark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for number, episode in enumerate(episodes):
        write_episode(Path(folder) / f"{number}.hdf5", episode)
    return load_episodes(folder, images_on_disk=True)


def convolution_call(config: Mapping, convolution: Callable) -> Callable:
    """Returns a call that makes updates of the kernels of `config["layers"]` in a loop, each layer on random images.

    Args:
      config: `batch_size` of images, `num_updates`, and `layers`: (pixels a side, channels in, channels out, kernel,
        stride, dilation of the input) each. Transposed convolutions are those with a dilation.
      convolution: `lax.conv_general_dilated`, or what has its signature.
    """
    keys = iter(jax.random.split(jax.random.key(SEED), 2 * len(config["layers"])))
    images, kernels, layers = [], [], []
    for size, channels_in, channels_out, kernel, stride, dilation in config["layers"]:
        images.append(jax.random.normal(next(keys), (config["batch_size"], size, size, channels_in)))
        kernels.append(jax.random.normal(next(keys), (kernel, kernel, channels_in, channels_out)))
        edge = 0 if dilation == 1 else kernel - 1
        options = dict(window_strides=(stride, stride), padding=2 * [(edge, edge)])
        options |= dict(lhs_dilation=(dilation, dilation), dimension_numbers=convolutions.ORDER)
        layers.append(functools.partial(convolution, **options))

    def loss(images, kernels):
        return sum(
            jnp.square(layer(x, kernel)).mean()
            for layer, x, kernel in zip(layers, images, kernels, strict=True)
        )

    def update(kernels, _):
        # The gradient of the images is wanted too: in a network it continues to the layer before.
        grads = jax.grad(lambda pair: loss(*pair))((images, kernels))
        nothing = 1e-9 * sum(grad.mean() for grad in grads[0])
        return jax.tree.map(lambda kernel, grad: kernel - 1e-3 * grad + nothing, kernels, grads[1]), None

    return functools.partial(
        jax.jit(lambda kernels: jax.lax.scan(update, kernels, None, config["num_updates"])[0]), kernels
    )


def sampling_call(config: Mapping, size: str, num_batches: int) -> Callable:
    """Returns a call that draws `num_batches` batches inside one program."""
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


class ActingProgram:
    """A call acts once for `num_envs` environments, from records as NumPy arrays to actions as such.

    Attributes:
      arguments: (function, *args) of the pure step, to count its arithmetic.
    """

    def __init__(self, config: Mapping, size: str, num_envs: int):
        models = build_world_models(config, size, 1)
        policy = select_seed(build_policies(config, size, models, 1), 0)
        model, key = select_seed(models, 0), jax.random.key(SEED)
        self._records = random_records(config, num_envs)
        state = initial_actor_state(model, num_envs, key)
        self.arguments = (act, model, policy, state, self._records, self._records["is_first"])
        self._actor = FilterActor(model, policy, num_envs, key)

    def __call__(self) -> np.ndarray:
        return self._actor(self._records)


def planning_call(config: Mapping, size: str, settings: PlanSettings) -> Callable:
    """Returns a call that acts once for one environment, by planning in a world model that predicts the reward."""
    model = select_seed(build_world_models(config, size, 1, predict_reward=True), 0)
    actor = planning_actor(Planner(settings), model, None, None, 1, jax.random.key(SEED))
    records = random_records(config, 1)
    return lambda: actor(records)


def random_records(config: Mapping, num_envs: int) -> dict[str, np.ndarray]:
    """Draws records of `num_envs` environments in the middle of an episode, {name: [N, ...]}."""
    rng = np.random.default_rng(SEED)
    records = {name: random_sensor(rng, num_envs, size) for name, size in config["sensors"].items()}
    return records | {"is_first": np.zeros(num_envs, bool)}
