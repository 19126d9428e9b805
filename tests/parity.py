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

from agents import values
from aime.losses import action_inference_loss, action_inference_terms
from worldmodels import published
from worldmodels.distributions import balanced_kl
from worldmodels.losses import elbo_loss, elbo_loss_and_states, per_step_evidence
from worldmodels.types import SequenceBatch

FLAGS = ("is_first", "is_last", "is_terminal")


@dataclasses.dataclass(frozen=True)
class Case:
    """A recorded case: the published checkpoint, the batch, and what the published code computed."""

    folder: pathlib.Path
    checkpoint: published.PublishedCheckpoint
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
    return Case(folder, published.load(folder), jax.tree.map(jnp.asarray, batch), expected)


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
    """{published tensor name: norm of our gradient}."""
    return {name: jnp.linalg.norm(published.lookup(grads, path)[...]) for name, path in names.items()}


def train_outputs(case: Case) -> dict:
    """`train/*`: the world-model loss on the batch and its gradient."""
    model, batch, options = case.checkpoint.world_model, case.batch, case.checkpoint.loss
    grads, _ = jax.jit(jax.grad(functools.partial(elbo_loss, **options), has_aux=True))(model, batch, None)
    _, metrics, output = elbo_loss_and_states(model, batch, None, **options)
    features = output.states.features
    means = {name: dist.mean() for name, dist in model.decode(features).items()}
    means |= {
        name: model.baseline_probes[name](model.encode(batch.observation)).mean() for name in model.probes
    }
    return (
        {"train/deter": output.states.deter, "train/stoch": output.states.stoch}
        | {f"train/mean/{name}": mean for name, mean in means.items()}
        | {f"train/metric/{name}": value for name, value in renamed_metrics(with_probes(metrics)).items()}
        | {f"train/grad_norm/{n}": v for n, v in grad_norms(grads, case.checkpoint.names).items()}
    )


def filter_outputs(case: Case) -> dict:
    """`filter/*`, `rollout/*`, `likelihood/*`."""
    model, batch = case.checkpoint.world_model, case.batch
    output = model.filter(batch)
    kl = balanced_kl(output.posterior, output.prior, case.checkpoint.loss["kl_balance"])
    # Open loop from the third filtered state.
    third = jax.tree.map(lambda x: x[:, 2], output.states)
    rollout = model.rssm.rollout(third, model.actions_for_filter(batch)[:, 3:])
    elbo = per_step_evidence(model, jax.tree.map(lambda x: x[:1], batch))[0]
    return {
        "filter/kl": kl,
        "rollout/deter": rollout.deter,
        "rollout/stoch": rollout.stoch,
        "likelihood/elbo": elbo,
        "likelihood/symlog": jnp.sign(elbo) * jnp.log1p(jnp.abs(elbo)),
    }


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
    args = (case.batch.without_actions(), checkpoint.world_model, None)
    loss = functools.partial(action_inference_loss, **options)
    grads, metrics = jax.jit(jax.grad(loss, has_aux=True))(checkpoint.policy, *args)
    per_step, inference, _, _ = action_inference_terms(checkpoint.policy, *args, **options)
    names = published.tanh_gaussian_names("", (), checkpoint.policy)
    return (
        {
            f"{prefix}/actions": inference.actions,
            f"{prefix}/action_entropy": inference.policy.entropy(),
            f"{prefix}/per_step_elbo": -per_step[..., None],
        }
        | {f"{prefix}/metric/{name}": value for name, value in renamed_metrics(metrics).items()}
        | {f"{prefix}/grad_norm/{name}": value for name, value in grad_norms(grads, names).items()}
    )


GAMMA, LAMBDA, HORIZON = 0.99, 0.95, 5  # of the recorded imagination


def imagine_outputs(case: Case) -> dict:
    """`imagine/*`: actor and critic losses in imagination from every filtered state."""
    model, policy, batch = case.checkpoint.world_model, case.checkpoint.policy, case.batch
    ((reward_name, (critic, target_critic)),) = case.checkpoint.vnet.items()
    # Starts in the recorded order, time-major.
    starts = jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, x.shape[-1]), model.filter(batch).states
    )

    def policy_loss(policy):
        imagined = model.rssm.imagine(starts, policy, HORIZON)
        features = imagined.states.features
        reward = model.decoders[reward_name](features).mean()[..., 0]
        terminal = model.decoders["is_terminal"](features).mode()[..., 0]
        value, discount = target_critic(features)[..., 0], GAMMA * (1.0 - terminal)
        weight = values.cumulative_discount(discount)
        returns = values.lambda_returns(reward[:, :-1], value[:, :-1], discount[:, :-1], value[:, -1], LAMBDA)
        outputs = {
            "actions": imagined.actions,
            reward_name: reward[..., None],
            "is_terminal": terminal[..., None],
            "target_value": value[..., None],
            "lambda_return": returns[..., None],
            "cum_discount": weight[..., None],
            "action_entropy": imagined.policy.entropy(),
        }
        return values.value_gradient_loss(returns, weight), (outputs, features, returns, weight)

    def value_loss(critic, features, returns, weight):
        return values.value_loss(critic(features[:, :-1])[..., 0], returns, weight[:, :-1])

    (loss, (outputs, *rest)), grads = jax.value_and_grad(policy_loss, has_aux=True)(policy)
    critic_loss, critic_grads = jax.value_and_grad(value_loss)(critic, *rest)
    norms = grad_norms(grads, published.tanh_gaussian_names("", (), policy))
    critic_norms = grad_norms(critic_grads, published.mlp_names(f"vnets.{reward_name}.vnet", (), critic))
    return (
        {f"imagine/{name}": value for name, value in outputs.items()}
        | {"imagine/policy_loss": loss, "imagine/value_loss": critic_loss}
        | {f"imagine/grad_norm/{name}": value for name, value in norms.items()}
        | {f"imagine/vnet_grad_norm/{name}": value for name, value in critic_norms.items()}
    )
