"""bfloat16 products, float32 everything else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models import make_batch, make_model
from parity import COMPILER_OPTIONS

from worldmodels.losses import elbo_loss


@functools.cache
def models():
    return [make_model(compute_dtype=dtype, predict_reward=True) for dtype in ("float32", "bfloat16")]


@functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def loss_and_gradient_norm(model):
    (loss, _), grads = jax.value_and_grad(elbo_loss, has_aux=True)(model, make_batch(), None)
    return loss, optax.global_norm(grads)


def test_loss_and_gradient_stay_near_those_of_float32():
    (loss, norm), (loss16, norm16) = map(loss_and_gradient_norm, models())
    assert loss != loss16
    np.testing.assert_allclose(loss16, loss, rtol=0.01)
    np.testing.assert_allclose(norm16, norm, rtol=0.03)


def test_parameters_states_and_distributions_stay_float32():
    model = models()[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype("float32")}
    output = model.filter(make_batch())
    decoded = {name: dist.mean() for name, dist in model.decode(output.states.features).items()}
    for leaf in jax.tree.leaves((output, decoded)):
        assert leaf.dtype == jnp.float32


def test_several_seeds_train_in_one_program():
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), models()[1])
    loss, norm = jax.eval_shape(jax.vmap(loss_and_gradient_norm.__wrapped__), stacked)
    assert loss.shape == norm.shape == (2,)


def test_an_unknown_dtype_is_named():
    with pytest.raises(ValueError, match="Unknown compute_dtype 'float16'. Known: float32, bfloat16."):
        make_model(compute_dtype="float16")
