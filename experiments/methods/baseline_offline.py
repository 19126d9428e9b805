"""Baselines whose networks learn together from fixed data, by steps of the embodiment data: SMODICE, LobsDICE, FB.

Unlike fits they have no validation: they learn for `num_updates`, and the last policy is the result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from agents.dice import DiceOptimizers, DiceSettings, create_dice, make_dice_update
from agents.forward_backward import (
    ForwardBackwardSettings,
    create_forward_backward,
    make_forward_backward_update,
    prompt_of,
)
from agents.frame_stack import FrameStack
from experiments.methods.baseline_recipes import FrameStackBaseline
from experiments.models import architectures, files
from experiments.models.architectures import build_prompted
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import diverged_result, to_numbers
from experiments.runs.training import Schedule, train
from worldmodels.data.dataset import SequenceDataset, windows
from worldmodels.data.loops import make_loops
from worldmodels.devices.sharding import place
from worldmodels.training import make_optimizer


class OfflineBaseline(FrameStackBaseline):
    """A baseline of networks that learn together; its state has a `key` and a `step`.

    Attributes:
      view: what makes a vector of the frames that the policy reads, standardised where the config says so.
      progress_metric: of its updates.
    """

    needs = ("embodiment", "vectors")
    progress_metric = "policy/loss"

    def __init__(self, config: Mapping):
        super().__init__(config)
        images = [name for name, size in self.data.arch["sizes"].items() if not isinstance(size, int)]
        if images:
            raise ValueError(
                f"{self.label} learns from vectors, and the set-up has the images {', '.join(images)}; choose "
                "another with --config.setup=NAME."
            )
        arch = {name: self.data.arch[name] for name in ("sizes", "num_frames", "standardized")}
        network = functools.partial(_view, FrameStack)
        self.view = architectures.build_network(
            arch | {"action_size": 0}, jax.random.key(0), self.data.episodes, network=network
        )

    def create_state(self, key: jax.Array):
        """Returns the state of one seed before the first update."""
        raise NotImplementedError

    def make_update(self) -> Callable:
        """Returns (state, embodiment windows, demonstrations, first windows of the embodiment) -> (state, metrics)."""
        raise NotImplementedError

    def policies(self, state) -> FrameStack:
        """Returns the policies of all seeds."""
        return state.policy.model

    @classmethod
    def train(cls, directory: RunDirectory) -> dict:
        """Trains and evaluates all seeds in one program; returns their scores."""
        return OfflineRun(directory, cls(directory.config)).run()


class OfflineRun:
    """A run of an offline baseline in an opened directory."""

    def __init__(self, directory: RunDirectory, baseline: OfflineBaseline):
        self._directory, self._baseline, self._config = directory, baseline, baseline.config

    def datasets(self) -> tuple[SequenceDataset, SequenceDataset, SequenceDataset]:
        """Returns windows of the embodiment data, of the demonstrations, and the first of each embodiment episode."""
        data = self._baseline.data
        body = data.windows(data.body, with_actions=True)
        return (
            body,
            data.shown_windows(with_actions=False),
            body.replace(starts=body.first_starts, num_windows=body.num_episodes),
        )

    def run(self) -> dict:
        """Trains from the newest checkpoint, or from scratch, to the end; returns the final evaluation."""
        config, baseline = self._config, self._baseline
        size, num_seeds = config["batch_size"], config["num_seeds"]
        placement = place(config["devices"], batch_sizes=[size], num_seeds=num_seeds)
        options = dict(batch_size=size, num_seeds=num_seeds, placement=placement)
        clocks = ("num_updates", "updates_per_dispatch", "save_every")
        state = train(
            self._directory,
            architectures.stacked(baseline.create_state, num_seeds, config["seed"]),
            make_loops(baseline.make_update(), self.datasets(), **options),
            Schedule(**{name: config[name] for name in clocks}, evaluate_every=config["evaluation"]["every"]),
            prefix="train/",
            description=config["method"],
            progress_metric=baseline.progress_metric,
            evaluate=lambda state, update: self._evaluate(baseline.policies(state), final=False),
            placement=placement,
        )
        policies = baseline.policies(state)
        files.save(self._directory.path, config, baseline.models(policies))
        diverged = diverged_result(state.step < config["num_updates"], state.step)
        return self._evaluate(policies, final=True) | {"num_updates": config["num_updates"]} | diverged

    def _evaluate(self, policies: FrameStack, *, final: bool) -> dict:
        """Returns scores and errors of the policies of all seeds; the final ones are from other starts."""
        options = self._config["evaluation"]
        num_episodes = options["final_episodes" if final else "episodes"]
        errors = to_numbers(self._baseline.errors({"policy": policies}, final=final))
        return self._baseline.play(policies, num_episodes, options["seed"] + final).row() | errors


class SMODICE(OfflineBaseline):
    """SMODICE: clones those steps of the embodiment data that lead to the states of the demonstrations."""

    label = "SMODICE"
    paper = "Ma et al. 2022"
    preset = "smodice"

    def __init__(self, config: Mapping):
        super().__init__(config)
        self._settings = DiceSettings(**config["dice"])
        self._optimizers = DiceOptimizers.create(config["learning_rate"], self._settings)

    def create_state(self, key):
        """Creates a state; see `OfflineBaseline`."""
        policy_key, key = jax.random.split(key)
        policy = self.create("policy", policy_key)
        return create_dice(policy, self.view.merger.out_size, self._settings, self._optimizers, key)

    def make_update(self):
        """Makes an update of discriminator, value and policy; see `OfflineBaseline`."""
        return make_dice_update(self.view, self._settings, self._optimizers)


class LobsDICE(SMODICE):
    """LobsDICE: the same by transitions."""

    label = "LobsDICE"
    paper = "Kim et al. 2022"
    preset = "lobsdice"


class ForwardBackward(OfflineBaseline):
    """FB: policies for all directions from the embodiment data, and the direction of the demonstrations."""

    label = "FB"
    paper = "Touati et al. 2023"
    preset = "fb"

    def __init__(self, config: Mapping):
        super().__init__(config)
        self._settings = ForwardBackwardSettings(**config["representation"])
        self._optimizer = make_optimizer(config["learning_rate"])
        self.arguments = self.arguments | {"kind": "prompted", "dimension": self._settings.dimension}
        shown = self.data.shown_windows(with_actions=False)
        windows_shown = windows(shown, jnp.arange(shown.num_windows))

        @jax.jit
        @jax.vmap
        def prompted(policy, model):
            return policy.prompted(prompt_of(model, self.view, windows_shown))

        self._prompted = prompted

    def create_state(self, key):
        """Creates a state; see `OfflineBaseline`."""
        policy_key, key = jax.random.split(key)
        policy = build_prompted(self.arguments, policy_key, self.data.episodes)
        sizes = (self.view.merger.out_size, self.arguments["action_size"])
        return create_forward_backward(policy, *sizes, self._settings, self._optimizer, key)

    def make_update(self):
        """Makes an update of representation and policy; see `OfflineBaseline`."""
        learn = make_forward_backward_update(self.view, self._settings, self._optimizer)
        return lambda state, body, shown, first: learn(state, body)

    def policies(self, state):
        """Prompts the policies with the demonstrations; see `OfflineBaseline`."""
        return self._prompted(state.policy.model, state.model.model)


def _view(network, *, sizes, action_size, num_frames, statistics, rngs):
    """Makes a `FrameStack` of what `build_frame_stack` has for networks that act."""
    del action_size
    return network(sizes, num_frames=num_frames, statistics=statistics, rngs=rngs)
