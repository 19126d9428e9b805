"""Runs our models over a recorded case of the published implementation (tests/golden/README.md).

Every `*_outputs` function returns {key of expected.npz: our value}. Recorded arrays are time-major, ours batch-major:
`recorded` and `expected_key` do the translation, so that a comparison is one line in the test.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from agents import imagination
from agents.plan2explore import curiosity
from aime.losses import AIMEOptions, action_inference_loss
from aime.rewards import symlog
from worldmodels.distributions import balanced_kl
from worldmodels.export import Models
from worldmodels.losses import LossOptions, elbo_loss, per_step_evidence
from worldmodels.published import folder as published
from worldmodels.published import tensors
from worldmodels.structures import SequenceBatch

FLAGS = ("is_first", "is_last", "is_terminal")
COMPILER_OPTIONS: dict = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
if jax.__version__.startswith("0.10."):  # later ones do not know it
    COMPILER_OPTIONS["xla_cpu_use_fusion_emitters"] = False


@dataclasses.dataclass(frozen=True)
class Case:
    """A recorded case: the published checkpoint, the batch, and what the published code computed."""

    folder: pathlib.Path
    checkpoint: Models
    batch: SequenceBatch
    expected: dict[str, np.ndarray]


def case_folders(root: pathlib.Path) -> list[pathlib.Path]:
    """Every folder under `root` that holds a recorded case."""
    return sorted(path.parent for path in root.glob("*/expected.npz"))


@functools.cache
def load_case(folder: pathlib.Path) -> Case:
    """Loads a case, batch-major."""
    inputs = {key: np.swapaxes(value, 0, 1) for key, value in np.load(folder / "inputs.npz").items()}
    flags = {key: inputs.pop(key)[..., 0] if key in inputs else None for key in FLAGS}
    zeros = np.zeros_like(flags["is_terminal"])
    masks = {
        key.removesuffix("_mask"): inputs.pop(key)[..., 0] for key in list(inputs) if key.endswith("_mask")
    }
    reward = inputs.pop("reward")[..., 0] if "reward" in inputs else None
    batch = SequenceBatch(
        prev_action=inputs.pop("pre_action", None),
        reward=reward,
        observation=inputs,
        masks=masks,
        **{key: zeros if value is None else value for key, value in flags.items()},
    )
    expected = dict(np.load(folder / "expected.npz"))
    sizes = {n: x.shape[-1] if x.ndim == 3 else list(x.shape[2:4]) for n, x in inputs.items()}
    return Case(folder, published.load(folder, sizes=sizes), jax.tree.map(jnp.asarray, batch), expected)


def recorded(key: str, value: np.ndarray) -> np.ndarray:
    """An expected array in our axes: batch-major, flags without their trailing axis."""
    if value.ndim < 2:
        return value
    return np.swapaxes(value, 0, 1)


def renamed_metrics(metrics: dict) -> dict:
    """Our metric names to the published ones."""
    return {{"loss": "total_loss"}.get(name, name): value for name, value in metrics.items()}


def with_probes(metrics: dict) -> dict:
    """The published world-model loss counts probes as reconstruction; ours reports them apart."""
    probes = [value for name, value in metrics.items() if name.endswith("probe_reconstruction_loss")]
    return metrics | {"reconstruction_loss": metrics["reconstruction_loss"] + sum(probes)}


def grad_norms(grads, names: dict[str, tuple]) -> dict[str, float]:
    """{published tensor name: norm of our gradient}; not compiled, which would take longer than all the rest."""
    return {name: np.linalg.norm(tensors.lookup(grads, path)[...]) for name, path in names.items()}


def compiled(function):
    """`function` jitted, optimised little: these programs take seconds to compile and milliseconds to run."""
    return jax.jit(function, compiler_options=COMPILER_OPTIONS)


def train_outputs(case: Case) -> dict:
    """`train/*`: the world-model loss on the batch and its gradient."""
    checkpoint = case.checkpoint
    names = tensors.world_model_names(checkpoint.world_model)
    follows = any(key.startswith("train/grad_norm/momentum_encoders.") for key in case.expected)

    @compiled
    def compute(model, batch):
        model = model.before_update()
        loss = functools.partial(elbo_loss, options=LossOptions(**checkpoint.loss))
        grads, (metrics, output) = jax.grad(loss, has_aux=True)(model, batch, None)
        momentum = momentum_grads(loss, model, batch) if follows else None
        states = output.states
        means = {name: dist.mean() for name, dist in model.decode(states.features).items()}
        embed = model.encode(batch.observation)
        heads, inputs = (
            (model.baseline_probes, embed) if model.baseline_probes else (model.probes, states.features)
        )
        means |= {name: heads[name](inputs).mean() for name in heads if name not in means}
        outputs = (
            {"train/deter": states.deter, "train/stoch": states.stoch}
            | {f"train/mean/{name}": mean for name, mean in means.items()}
            | {f"train/metric/{name}": value for name, value in renamed_metrics(with_probes(metrics)).items()}
        )
        return outputs, grads, momentum

    outputs, grads, momentum = compute(checkpoint.world_model, case.batch)
    norms = grad_norms(grads, {n: path for n, path in names.items() if "momentum_" not in n})
    if follows:
        paths = {n: path[1:] for n, path in names.items() if n.startswith("momentum_encoders.")}
        norms |= grad_norms(momentum, paths)
    return outputs | {f"train/grad_norm/{name}": value for name, value in norms.items()}


def momentum_grads(loss, model, batch):
    """The gradient that the published `rssmo` lets into its momentum encoder; ours stops it."""

    def loss_of(embed):
        return loss(model, batch.replace(observation={**batch.observation, "emb": embed}), None)[0]

    embed, pull_back = jax.vjp(lambda encoder: encoder(batch.observation), model.momentum_encoder)
    return pull_back(jax.grad(loss_of)(embed))[0]


def filter_outputs(case: Case) -> dict:
    """`filter/*`, `rollout/*`, `likelihood/*`."""
    checkpoint = case.checkpoint

    @compiled
    def compute(model, batch):
        output = model.filter(batch)
        kl = balanced_kl(output.posterior, output.prior, checkpoint.loss["kl_balance"])
        # Open loop from the third filtered state.
        third = jax.tree.map(lambda x: x[:, 2], output.states)
        rollout = model.dynamics.rollout(third, model.actions_for_filter(batch)[:, 3:])
        elbo = per_step_evidence(model.before_update(), jax.tree.map(lambda x: x[:1], batch))[0]
        return {
            "filter/kl": kl,
            "rollout/deter": rollout.deter,
            "rollout/stoch": rollout.stoch,
            "likelihood/elbo": elbo,
            "likelihood/symlog": symlog(elbo),
        }

    return compute(checkpoint.world_model, case.batch)


AIME_VARIANTS = {
    "aime": {},
    "aime_kl_only": dict(kl_only=True),
    "aime_idm_posterior": dict(idm_mode="posterior"),
    "aime_idm_prior": dict(idm_mode="prior"),
    "aime_idm_regularizer": dict(idm_mode="regularizer"),
}


def aime_outputs(case: Case, prefix: str) -> dict:
    """`aime*/`: the action-inference loss with the recorded policy, and its gradient."""
    checkpoint = case.checkpoint
    options = {key: checkpoint.loss[key] for key in ("kl_scale", "nll_reweight")} | AIME_VARIANTS[prefix]
    names = tensors.tanh_gaussian_names("", (), checkpoint.policy)
    with_embedding = f"{prefix}/metric/emb_mse" in case.expected

    @compiled
    def compute(policy, batch, model):
        batch = model.before_update().with_embedding(batch) if with_embedding else batch
        loss = functools.partial(action_inference_loss, options=AIMEOptions(**options))
        grads, (metrics, (inference, per_record)) = jax.grad(loss, has_aux=True)(policy, batch, model, None)
        outputs = {
            f"{prefix}/actions": inference.actions,
            f"{prefix}/action_entropy": inference.policy.entropy(),
            f"{prefix}/per_step_elbo": -per_record[..., None],
        } | {f"{prefix}/metric/{name}": value for name, value in renamed_metrics(metrics).items()}
        return outputs, grads

    outputs, grads = compute(checkpoint.policy, case.batch.without_actions(), checkpoint.world_model)
    return outputs | {f"{prefix}/grad_norm/{name}": value for name, value in grad_norms(grads, names).items()}


IMAGINATION = imagination.ImaginationOptions(horizon=5, entropy_scale=0.0)  # as recorded


def imagine_outputs(case: Case) -> dict:
    """`imagine/*`: what the policy does in imagination, and the actor and critic losses if there is a critic."""
    checkpoint = case.checkpoint
    if checkpoint.critic is None:
        return imagined_rewards(case)
    ((reward, (critic, target_critic)),) = checkpoint.critic.items()
    names = tensors.tanh_gaussian_names("", (), checkpoint.policy)
    critic_names = tensors.mlp_names(f"vnets.{reward}.vnet", (), critic)
    options = dict(rewards={reward: reward_named(reward)}, options=IMAGINATION)

    @compiled
    def compute(policy, critic, model, target_critic, batch):
        start = recorded_starts(model, batch)
        policy_loss = jax.value_and_grad(functools.partial(imagination.policy_loss, **options), has_aux=True)
        (loss, (_, imagined)), grads = policy_loss(policy, model, target_critic, start, None)
        value_loss = jax.value_and_grad(imagination.value_loss, has_aux=True)
        (critic_loss, _), critic_grads = value_loss(critic, imagined)
        outputs = {
            "actions": imagined.actions,
            reward: imagined.reward[reward][..., None],
            "is_terminal": imagined.terminal[..., None],
            "target_value": imagined.value[reward][..., None],
            "lambda_return": imagined.returns[reward][..., None],
            "cum_discount": imagined.weight[..., None],
            "action_entropy": imagined.entropy,
            "policy_loss": loss,
            "value_loss": critic_loss,
        }
        return {f"imagine/{name}": value for name, value in outputs.items()}, grads, critic_grads[reward]

    networks = checkpoint.policy, {reward: critic}, checkpoint.world_model, {reward: target_critic}
    outputs, *grads = compute(*networks, case.batch)
    for prefix, part, places in zip(("", "vnet_"), grads, (names, critic_names), strict=True):
        outputs |= {f"imagine/{prefix}grad_norm/{n}": v for n, v in grad_norms(part, places).items()}
    return outputs


def recorded_starts(model, batch):
    """Every filtered state, in the recorded order: time-major."""
    return imagination.starts(jax.tree.map(lambda x: x.swapaxes(0, 1), model.filter(batch).states))


def reward_named(name: str):
    """What gives the rewards of imagined states: curiosity, or a head of size one."""
    return curiosity if name == "intrinsic_reward" else imagination.head_reward(name)


def imagined_rewards(case: Case) -> dict:
    """`imagine/*` of a case without critic."""

    @compiled
    def compute(policy, model, batch):
        imagined = model.dynamics.imagine(recorded_starts(model, batch), policy, IMAGINATION.horizon)
        outputs = {"actions": imagined.actions, "action_entropy": imagined.policy.entropy()}
        for name in [*model.targets, "intrinsic_reward"]:
            if f"imagine/{name}" in case.expected:
                outputs[name] = reward_named(name)(model, imagined)[..., None]
        return {f"imagine/{name}": value for name, value in outputs.items()}

    return compute(case.checkpoint.policy, case.checkpoint.world_model, case.batch)
