"""Published configurations as our architectures; options that we do not know are refused by name."""

import json

import numpy as np
import pytest
import yaml
from flax import nnx
from published_folders import H, config, linear, mlp, version_1_rssm, write

from worldmodels.encoders import VECTOR_ENCODERS
from worldmodels.published import folder
from worldmodels.published import tensors as published_tensors
from worldmodels.published.architecture import is_version_1, vector_options

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("world_model", "name"), "lstm", "Unknown world_model.name 'lstm'. Known: rssm, rssmo"),
        (("environment_setup",), "audio", "Unknown environment_setup 'audio'. Known: mdp"),
        (("world_model", "encoders", "visual", "name"), "vit", "Unknown image network 'vit'. Known: cnn_ha"),
        (
            ("world_model", "decoders", "tabular", "dropout"),
            0.1,
            "Options dropout of the network 'dmlp' are not",
        ),
        (
            ("world_model", "encoders", "visual", "dropout"),
            0.1,
            "Options dropout of the network 'cnn_ha' are not supported",
        ),
        (("world_model", "dropout"), 0.1, "Options dropout of the section world_model are not supported"),
    ],
)
def test_an_option_that_we_do_not_know_is_named(tmp_path, path, value, sentence):
    changed = yaml.safe_load(yaml.safe_dump(config("rssm"), default_flow_style=False))
    group = changed
    for key in path[:-1]:
        group = group[key]
    group[path[-1]] = value
    with pytest.raises(ValueError, match=sentence):
        folder.load(write(tmp_path, changed, version_1_rssm()))


def filled_encoder(options, in_size, tensors, **version):
    """Our encoder for published options, with the tensors of the published one."""
    encoder = VECTOR_ENCODERS.make(in_size, rngs=nnx.Rngs(0), **vector_options(options, **version))
    names = published_tensors.mlp_names("", ("encoder", "net"), encoder.net)
    published_tensors.fill(
        nnx.Dict(encoder=encoder), tensors, {n[1:]: p for n, p in names.items()}, "reference"
    )
    return encoder


@pytest.mark.parametrize(
    ("options", "out_size", "end"),
    [
        (dict(), H, torch.nn.Identity()),
        (dict(out_features=7), 7, torch.nn.Identity()),
        (dict(output_activation="tanh"), H, torch.nn.Tanh()),
        (dict(out_features=3, output_activation="softplus"), 3, torch.nn.Softplus()),
        (dict(out_features=3, output_activation="gelu"), 3, torch.nn.GELU("tanh")),
    ],
)
def test_an_encoder_ends_as_its_options_say(options, out_size, end):
    layers = [torch.nn.Linear(5, H), torch.nn.ELU(), torch.nn.Linear(H, out_size), end]
    reference = torch.nn.Sequential(*layers)
    tensors = {f"net.{n}": value.numpy() for n, value in reference.state_dict().items()}
    encoder = filled_encoder(dict(name="mlp", hidden_size=H, hidden_layers=1, **options), 5, tensors)
    x = np.linspace(-3, 3, 10, dtype=np.float32).reshape(2, 5)
    assert encoder.out_size == out_size
    np.testing.assert_allclose(encoder(x), reference(torch.tensor(x)).detach(), rtol=1e-4, atol=1e-6)


def test_a_gate_at_the_end_of_an_encoder_finds_its_tensors():
    options = dict(name="mlp", hidden_size=H, hidden_layers=1, output_activation="geglu")
    shapes = mlp("", 5, H, layers=1) | linear(".net.3.gate", H, H) | linear(".net.3.linear", H, H)
    encoder = filled_encoder(options, 5, {name[1:]: np.full(s, 0.5) for name, s in shapes.items()})
    np.testing.assert_array_equal(encoder.net.output_gate.linear.kernel[...], 0.5)


def test_gelu_at_the_end_of_an_encoder_is_exact_in_version_1():
    options = vector_options(dict(name="mlp", output_activation="gelu"), first_version=True)
    assert options["output_activation"] == "gelu_exact" and options["activation"] == "elu"


def test_an_encoder_without_a_head_does_not_look_at_the_options_of_one():
    headless = dict(name="mlp", have_head=False, hidden_size=H)
    asked = vector_options(headless | dict(out_features=H, output_activation="tanh"))
    assert asked == vector_options(headless)
    with pytest.raises(
        ValueError, match="out_size and output_activation are of the encoder's head; pass head"
    ):
        VECTOR_ENCODERS.make(5, name="mlp", out_size=7, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("option", ["out_features", "output_activation"])
def test_a_decoder_has_no_end_of_its_own(option):
    with pytest.raises(ValueError, match=f"Options {option} of the network 'dmlp' are not supported"):
        vector_options(dict(name="dmlp") | {option: "tanh"})


@pytest.mark.parametrize(
    "option",
    [
        "norm",
        "encoders.tabular.norm",
        "encoders.visual.norm",
        "decoders.tabular.norm",
        "decoders.visual.norm",
        "probes.tabular.norm",
        "probes.visual.norm",
    ],
)
def test_batch_norm_is_refused_by_its_place_in_the_configuration(tmp_path, option):
    changed = json.loads(json.dumps(config("rssm")))  # sections that YAML would tie together stay apart
    *sections, key = option.split(".")
    group = changed["world_model"]
    for name in sections:
        group = group[name]
    group[key] = "bn"
    with pytest.raises(ValueError) as error:
        folder.load(write(tmp_path, changed, version_1_rssm()))
    assert str(error.value) == (
        f"world_model.{option}: 'bn' (BatchNorm) in config.yaml is not supported. Known for vectors: null, 'ln', "
        "'rms'; image networks have the norms that belong to their name, cnn_ha or dreamer_resnet."
    )


def test_a_norm_that_nobody_knows_is_refused_too(tmp_path):
    with pytest.raises(ValueError, match="world_model.norm: 'group' in config.yaml is not supported. Known"):
        changed = config("rssm")
        changed["world_model"]["norm"] = "group"
        folder.load(write(tmp_path, changed, version_1_rssm()))


@pytest.mark.parametrize(
    ("section", "value", "reason"),
    [
        ("world_model", None, "has no sections 'world_model' and 'env'"),
        (
            "env.sensors",
            ["image"],
            "sections world_model and env do not describe the tensors .*AttributeError",
        ),
        ("env.sensors", ..., "KeyError: 'sensors'"),
        ("world_model.state_dim", 8, "TypeError: cannot unpack"),
        ("world_model.kl_scale", "${x}", "could not convert string to float"),
        ("world_model.encoders.visual", None, "TypeError"),
    ],
)
def test_a_configuration_of_another_layout_is_one_sentence(tmp_path, section, value, reason):
    changed = json.loads(json.dumps(config("rssm")))
    *sections, key = section.split(".")
    group = changed
    for name in sections:
        group = group[name]
    group[key] = value
    if value is ...:
        del group[key]
    with pytest.raises(ValueError, match=f"config.yaml .*{reason}"):
        folder.load(write(tmp_path, changed, version_1_rssm()))


def test_a_version_2_name_in_a_configuration_without_version_is_still_version_2():
    tensors = {"memory_cell.weight_ih": 0, "decoders.is_terminal.prob_net.net.0.weight": 0}
    assert not is_version_1({}, tensors)
    assert is_version_1({}, {"memory_cell.weight_ih": 0})
    assert not is_version_1({"version": {"version": 2.0}}, {"memory_cell.weight_ih": 0})
