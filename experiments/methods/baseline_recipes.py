"""The baselines that are fitted to fixed data: what each needs, the networks that it fits in order, and how it acts.

`experiments.methods.baseline` trains them, logs, saves and evaluates. One of your own is a subclass, `my.module:Name`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from agents.bc import bc_loss
from agents.bco import bco_loss, inverse_dynamics_loss
from agents.chunks import frame_stack_actor
from agents.fitting import FitState, make_mean_loss
from agents.flow import bc_flow_loss, bco_flow_loss
from agents.frame_stack import with_encoder_of
from agents.iidm import ForwardNet, forward_loss, iidm_loss
from agents.loop import Actor
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Scores
from experiments.methods.baseline_data import load_data
from experiments.methods.baseline_decisions import check_decisions
from experiments.methods.baseline_encoder import PretrainedEncoder
from experiments.models import architectures
from experiments.runs.directory import RunDirectory
from experiments.runs.method import Method
from worldmodels.data.dataset import SequenceDataset
from worldmodels.export import Models
from worldmodels.world_model import WorldModel


@dataclasses.dataclass(frozen=True)
class Fit:
    """One network and what it learns.

    Attributes:
      network: its name, in metrics and checkpoints.
      dataset: windows.
      loss_fn: (network, batch, *frozen, key) -> (loss, metrics).
      teacher: the network, fitted before, that is frozen in the loss; None for none.
      frozen: a model of all seeds that is frozen in the loss; None for none.
      labelled: further windows, with actions, of which the loss gets a batch behind that of `dataset`; None for none.
    """

    network: str
    dataset: SequenceDataset
    loss_fn: Callable
    teacher: str | None = None
    frozen: object = None
    labelled: SequenceDataset | None = None


class Baseline(Method):
    """A baseline that is fitted: its networks and how they play; see `Method` for its other attributes.

    Attributes:
      arguments: constructor arguments of the policy, as `experiments.models.files` opens it again.
      shown: what it imitates.
      world_model: models of all seeds that its policies see through, or None.
      build: (arguments, key) -> the policy of one seed, where it is a network of its own; None: one of the project's.
      train: run directory -> result, of a baseline that is trained in another way; None fits the networks.
      counts: {name: number} of what it learns from, for the result.
      decides: True if its policy can decide on several actions at once, and by a flow (`agents.chunks`, `agents.flow`).
    """

    command = "baseline"
    arguments: dict
    shown: Demonstrations
    world_model: WorldModel | None = None
    build: Callable[[dict, jax.Array], object] | None = None
    train: Callable[[RunDirectory], dict] | None = None
    counts: Mapping[str, int] = {}
    decides = False

    def __init__(self, config: Mapping):
        super().__init__(config)
        check_decisions(config, self.label, self.decides)
        self.num_seeds = config["num_seeds"]

    @functools.cached_property
    def fits(self) -> tuple[Fit, ...]:
        """Its networks, in the order of training; the last one is "policy"."""
        raise NotImplementedError

    def create(self, network: str, key: jax.Array):
        """Returns a network of one seed, before training."""
        raise NotImplementedError

    def prepare(self, state: dict[str, FitState]) -> dict[str, FitState]:
        """Returns the state of all networks and seeds before the first epoch, given what `create` has made."""
        return state

    def loss_of(self, part: Fit) -> Callable:
        """Returns the loss with which a network is trained."""
        return part.loss_fn

    def begin(self, policy, teacher):
        """Returns the policy of all seeds as its training starts, given its trained teacher."""
        del teacher
        return policy

    @staticmethod
    def make_actor(models: Models, num_envs: int, seed: int) -> Actor:
        """Returns an actor with `models.policy`, leaves [num_seeds, ...]; also of a finished run."""
        raise NotImplementedError

    def models(self, policies) -> Models:
        """Returns what is kept of a run with these policies, leaves [num_seeds, ...]."""
        kind = {} if self.build is None else {"kind": self.config["method"]}
        return Models({"policy": self.arguments | kind}, policy=policies, num_seeds=self.num_seeds)

    def play(self, policies, num_episodes: int, seed: int) -> Scores:
        """Plays with the policies of all seeds where the demonstrations were played, from starts that `seed` draws."""
        models = dataclasses.replace(self.models(policies), world_model=self.world_model)
        evaluation = self.shown.evaluation(self.config["evaluation"], self.num_seeds)
        return evaluation.play(lambda num_envs: self.make_actor(models, num_envs, seed), num_episodes, seed)

    def errors(self, models: dict, *, final: bool) -> dict:
        """Returns {name: [num_seeds] error to the true actions of the demonstrations}, as far as they are known."""
        del models, final
        return {}


class FrameStackBaseline(Baseline):
    """A baseline whose networks read a few frames.

    Attributes:
      networks: {name: options of `build_frame_stack`} of networks other than the policy.
      data: what they learn from.
      loss, flow_loss: of the policy; the second where it is a flow.
      error_losses: {network: (name, loss)} of errors to true actions.
    """

    networks: Mapping[str, Mapping] = {}
    loss: Callable
    flow_loss: Callable
    error_losses: Mapping[str, tuple[str, Callable]] = {
        "policy": ("action_mse", bc_loss),
        "idm": ("idm_action_mse", inverse_dynamics_loss),
    }

    def __init__(self, config: Mapping):
        super().__init__(config)
        self._encoder, self.data = PretrainedEncoder.of(config), load_data(config, type(self))
        if self._encoder is not None:
            arch = self._encoder.inside(self.data.arch, self.data.episodes)
            self.data = dataclasses.replace(self.data, arch=arch)
        self.arguments, self.shown = self.data.arch, self.data.shown
        self._share_encoder = config.get("init_with_idm_encoder", False)
        self._errors: dict[str, Callable] = {}

    @property
    def policy_loss(self) -> Callable:
        """Loss of the policy."""
        return self.flow_loss if "euler_steps" in self.arguments else self.loss

    def create(self, network, key):
        """Creates a network; see `Baseline`."""
        options = self.networks.get(network, {})
        return architectures.build_frame_stack(self.data.arch, key, self.data.episodes, **options)

    def prepare(self, state):
        """Gives the networks the pretrained encoder, if the config names one."""
        if self._encoder is None:
            return state
        return {
            name: fitted.starting_with(self._encoder.start(fitted.train.model))
            for name, fitted in state.items()
        }

    def loss_of(self, part):
        """Leaves an encoder as it is that was pretrained and is frozen."""
        return part.loss_fn if self._encoder is None else self._encoder.keep(part.loss_fn)

    def begin(self, policy, teacher):
        """Gives the policy the encoder of its teacher, if the config says so."""
        return with_encoder_of(policy, teacher) if self._share_encoder else policy

    @staticmethod
    def make_actor(models, num_envs, seed):
        """Makes an actor; see `Baseline`."""
        chunk, key = models.arguments["policy"].get("chunk", 1), jax.random.key(seed)
        return frame_stack_actor(models.policy, key, chunk, num_seeds=models.num_seeds)

    def errors(self, models, *, final):
        """Returns "action_mse" of the policy and "idm_action_mse" of the inverse model."""
        data = self.data.true_actions
        if data is None:
            return {}
        errors = {}
        for network, (name, loss) in self.error_losses.items():
            if network in models:
                error = self._errors.setdefault(network, vmapped_mean(loss))
                errors[name] = error(models[network], data)
        return errors


class BC(FrameStackBaseline):
    """Behaviour cloning, the oracle that regresses the true actions."""

    label = "BC oracle"
    paper = "Pomerleau 1991"
    needs = ("actions",)
    instead = "the method bco"
    preset = "bc"
    decides = True
    loss = staticmethod(bc_loss)
    flow_loss = staticmethod(bc_flow_loss)

    @functools.cached_property
    def fits(self):
        """The policy."""
        return (Fit("policy", self.data.shown_windows(with_actions=True), self.policy_loss),)


class BCO(FrameStackBaseline):
    """BCO(0): an inverse model learns from embodiment data which action leads on, and labels the demonstrations."""

    label = "BCO(0)"
    paper = "Torabi et al. 2018"
    needs: Sequence[str] = ("embodiment",)
    preset = "bco"
    decides = True
    networks = {"idm": dict(more_frames=1)}
    teacher: tuple[str, Callable] = ("idm", inverse_dynamics_loss)
    loss: Callable = staticmethod(bco_loss)
    flow_loss: Callable = staticmethod(bco_flow_loss)

    @functools.cached_property
    def fits(self):
        """The teacher, then the policy."""
        name, teacher_loss = self.teacher
        length = self.data.arch["num_frames"] + 1
        body = self.data.windows(self.data.body, with_actions=True, length=length)
        return (
            Fit(name, body, teacher_loss),
            Fit("policy", self.data.shown_windows(with_actions=False), self.policy_loss, name),
        )


class IIDM(BCO):
    """IIDM: the policy's action must lead through a forward model to the observation that followed."""

    label = "IIDM"
    paper = "Zhang et al. 2023"
    preset = "iidm"
    decides = False
    networks = {"forward": dict(network=ForwardNet)}
    teacher = ("forward", forward_loss)
    loss = staticmethod(iidm_loss)


@functools.lru_cache(maxsize=16)  # so that a run with the loss of another one does not compile again
def vmapped_mean(loss_fn: Callable, *, frozen: bool = False) -> Callable:
    """Returns (networks, dataset[, frozen]) -> [num_seeds] mean losses over all windows."""
    mean_loss = make_mean_loss(loss_fn)

    def of_all(network, dataset, *frozen):
        indices = jnp.arange(len(dataset.starts), dtype=jnp.int32)
        return mean_loss(network, dataset, indices, dataset.num_windows, *frozen)

    return jax.jit(jax.vmap(of_all, in_axes=(0, None, 0) if frozen else (0, None)))
