"""Parts by name: the user's word imports code, that of a folder on disk does not; every part keeps its shapes."""

import json
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from models import NET, SIZES, make_batch, make_model

from worldmodels import export, registry
from worldmodels.decoders import DECODERS
from worldmodels.encoders import IMAGE_ENCODERS, VECTOR_ENCODERS
from worldmodels.registry import Registry

CODE = """
from flax import nnx

class Twice(nnx.Module):
    def __init__(self, in_size, *, factor=2.0, rngs):
        self.out_size, self.factor = in_size, factor

    def __call__(self, x):
        return self.factor * x
"""


@pytest.fixture
def mine(own_code):
    """The name of an encoder of the user's own."""
    own_code("mine", CODE)
    return "mine:Twice"


def test_an_encoder_of_ones_own_is_named_by_its_module(mine):
    assert VECTOR_ENCODERS.choose(mine) is VECTOR_ENCODERS.get(mine)
    model = make_model(encoder=dict(name=mine, factor=3.0))
    batch = make_batch()
    assert model.encode(batch.observation).shape == (3, 5, sum(SIZES.values()))


def test_the_options_of_a_config_name_parts_at_any_depth(mine):
    registry.load_named(dict(hidden_size=3, encoder=dict(joint=True, inner=dict(name=mine))))
    assert registry.is_loaded(mine)


def test_a_name_that_an_adapter_looks_up_in_a_module_is_the_users_word_too(mine):
    registry.load("adapter:mine:Id-v0")
    assert registry.is_loaded("adapter:mine:Id-v0") and "mine" in sys.modules


def test_a_registered_name_is_a_part_like_those_of_the_project():
    parts = Registry("part", {"first": nnx.Module}, base=nnx.Module)

    @parts.register("second")
    class Second(nnx.Module):
        pass

    assert parts.names() == ["first", "second"] and parts.get("second") is Second
    with pytest.raises(ValueError, match="'a:b': names with a colon are imported"):
        parts.register("a:b")
    with pytest.raises(ValueError, match="Unknown part 'third'. Known: first, second; or 'my.module:Name'"):
        parts.choose("third")


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_folder_does_not_choose_which_code_runs(mine, tmp_path, part):
    arguments = dict(sizes=SIZES, inputs=["position"], targets=["velocity"], action_size=2, idm_mode="none")
    arguments |= dict(rssm=dict(deter_size=6, stoch_size=4, hidden_size=8))
    arguments |= dict(encoder=dict(name="mlp", **NET), decoder=dict(name="dmlp", **NET))
    model = export.build_world_model(arguments, jax.random.key(0))
    folder = export.save(tmp_path / "model", export.Models({"world_model": arguments}, model))
    facts = json.loads((folder / "model.json").read_text())
    for name in (mine, "os:system"):
        facts["world_model"][part] = dict(name=name)
        (folder / "model.json").write_text(json.dumps(facts))
        with pytest.raises(ValueError, match=f"files do not choose which code runs.*--import={name}, in"):
            export.load(folder)
    assert "mine" not in sys.modules


def test_a_folder_opens_after_its_part_has_been_named(mine, tmp_path):
    registry.load(mine)
    arguments = dict(sizes=SIZES, inputs=["position"], targets=["velocity"], action_size=2, idm_mode="none")
    arguments |= dict(rssm=dict(deter_size=6, stoch_size=4, hidden_size=8))
    arguments |= dict(encoder=dict(name=mine), decoder=dict(name="dmlp", **NET))
    model = export.build_world_model(arguments, jax.random.key(0))
    folder = export.save(tmp_path / "model", export.Models({"world_model": arguments}, model))
    assert export.load(folder).world_model.encoder.vector.factor == 2.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:system", "'os:system' is no vector encoder: that is a subclass of Module"),
        ("no.such.module:Name", "there is no module 'no'; it must be importable"),
        ("adapter:no.such.module:Id-v0", "there is no module 'no'; it must be importable"),
        ("json:Nothing", "the module 'json' has no 'Nothing'"),
        ("json:a.b", "'json:a.b' names no code; that looks like 'my.module:Name'"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_with_a_reason(name, message, own_code):
    with pytest.raises(ValueError, match=message):
        VECTOR_ENCODERS.choose(name)


def test_an_option_of_another_part_is_refused(mine):
    VECTOR_ENCODERS.choose(mine)
    with pytest.raises(
        ValueError, match="'mine:Twice' has no option 'hidden_size'. It has factor; options of"
    ):
        VECTOR_ENCODERS.make(3, name=mine, hidden_size=8, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", VECTOR_ENCODERS.names())
def test_every_vector_encoder_says_how_much_it_returns(name):
    encoder = VECTOR_ENCODERS.make(3, name=name, rngs=nnx.Rngs(0))
    assert jax.eval_shape(encoder, jnp.zeros((2, 4, 3))).shape == (2, 4, encoder.out_size)


@pytest.mark.parametrize("name", IMAGE_ENCODERS.names())
def test_every_image_encoder_says_how_much_it_returns(name):
    encoder = IMAGE_ENCODERS.make((64, 64), name=name, width=2, rngs=nnx.Rngs(0))
    images = jnp.zeros((2, 4, 64, 64, 3), jnp.uint8)
    assert jax.eval_shape(encoder, images).shape == (2, 4, encoder.out_size)


@pytest.mark.parametrize("name", DECODERS.names())
def test_every_decoder_scores_what_it_predicts(name):
    size = (64, 64) if name in IMAGE_ENCODERS.names() else 2
    decoder = DECODERS.make(5, size, name=name, rngs=nnx.Rngs(0))
    shape = (3, 4, *((64, 64, 3) if size == (64, 64) else (2,)))

    def score(features):
        distribution = decoder(features)
        return distribution.mean(), distribution.log_prob(jnp.zeros(shape))

    mean, log_prob = jax.eval_shape(score, jnp.zeros((3, 4, 5)))
    assert mean.shape == shape and log_prob.shape[:2] == (3, 4)
