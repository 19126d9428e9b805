"""Published checkpoints: recognised by their tensors, refused by name where they do not fit."""

import json

import numpy as np
import pytest
import yaml
from flax import nnx

from worldmodels import published
from worldmodels.encoders import make_vector_encoder
from worldmodels.published_names import mlp_names

torch = pytest.importorskip("torch")

D, S, H, W, A = 8, 4, 6, 2, 3  # deter, stoch, hidden, width of the image networks, action
SENSORS = {"orientations": 5, "height": 1, "velocity": 2}
EMBED, FEATURES = 32 * W, D + S


def linear(name, out_size, in_size):
    return {f"{name}.weight": (out_size, in_size), f"{name}.bias": (out_size,)}


def mlp(prefix, in_size, out_size, norm=False, hidden=H, layers=2):
    """Shapes of a published MLP: linear, norm if any, activation, ..., head."""
    shapes, index = {}, 0
    for i in range(layers):
        shapes |= linear(f"{prefix}.net.{index}", hidden, in_size if i == 0 else hidden)
        shapes |= {f"{prefix}.net.{index + 1}.{part}": (hidden,) for part in ("weight", "bias") if norm}
        index += 3 if norm else 2
    return shapes | linear(f"{prefix}.net.{index}", out_size, hidden)


def common_to_version_1(norm):
    """Image networks, inverse dynamics, probes and memory of AIME v1, as its visual checkpoints list them."""
    shapes = {"initial_memory": (1, D), "initial_state": (1, S)}
    channels = (3, W, 2 * W, 4 * W, 8 * W)
    for i in range(4):
        shapes |= {f"encoders.image.net.{2 * i}.weight": (channels[i + 1], channels[i], 4, 4)}
        shapes |= {f"encoders.image.net.{2 * i}.bias": (channels[i + 1],)}
    channels, kernels = (32 * W, 4 * W, 2 * W, W, 3), (5, 5, 6, 6)
    shapes |= linear("decoders.image.net.0", 32 * W, FEATURES)
    for i in range(4):
        shapes |= {
            f"decoders.image.net.{2 * i + 2}.weight": (channels[i], channels[i + 1], kernels[i], kernels[i])
        }
        shapes |= {f"decoders.image.net.{2 * i + 2}.bias": (channels[i + 1],)}
    for name, size in SENSORS.items():
        shapes |= mlp(f"probes.{name}.net", FEATURES, size, norm)
    for part in ("mean_net", "std_net"):
        shapes |= mlp(f"idm.{part}", FEATURES + EMBED, A)
    in_size = H if norm else S + A
    shapes |= {"memory_cell.weight_ih": (3 * D, in_size), "memory_cell.weight_hh": (3 * D, D)}
    return shapes | {"memory_cell.bias_ih": (3 * D,), "memory_cell.bias_hh": (3 * D,)}


def version_1_rssm():
    shapes = common_to_version_1(norm=False)
    for part in ("mean", "std"):
        shapes |= mlp(f"prior_{part}", D, S) | mlp(f"posterior_{part}", D + EMBED, S)
    return shapes


def version_1_rssmo():
    shapes = common_to_version_1(norm=True)
    shapes |= linear("pre_memory.net.0", H, S + A)
    shapes |= {"pre_memory.net.1.weight": (H,), "pre_memory.net.1.bias": (H,)}
    shapes |= mlp("prior_net", D, 2 * S, norm=True, layers=1)
    return shapes | mlp("posterior_net", D + EMBED, 2 * S, norm=True, layers=1)


def config(name, **changes):
    vector = dict(name="dmlp", hidden_size=H, hidden_layers=2)
    vector |= dict(hidden_activation="swish", norm="ln") if name == "rssmo" else {}
    visual = dict(name="cnn_ha", width=W)
    model = dict(
        name=name,
        state_dim=[D, S],
        hidden_size=H,
        hidden_layers=2,
        norm="ln" if name == "rssmo" else None,
        nll_reweight="none" if name == "rssmo" else "dim_wise",
        min_std=0.1 if name == "rssmo" else None,
        encoders=dict(tabular=dict(name="identity"), visual=visual),
        decoders=dict(tabular=vector, visual=visual),
        probes=dict(tabular=vector, visual=visual),
    )
    layout = {n: dict(modility="tabular", order="first") for n in SENSORS}
    layout["image"] = dict(modility="visual", order="first")
    env = dict(name="${env.embodiment}-${env.task}", embodiment="walker", task="walk", sensors=layout)
    return dict(environment_setup="visual", env=env, world_model=model) | changes


def write(folder, config, shapes, seed=0, **tensors):
    generator = np.random.default_rng(seed)
    state = {n: torch.tensor(0.1 * generator.normal(size=s).astype(np.float32)) for n, s in shapes.items()}
    state |= {n: torch.zeros(shapes[n]) for n in ("initial_memory", "initial_state")}
    torch.save(state | tensors, folder / "model.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.parametrize(
    ("name", "shapes", "num_tensors", "family"),
    [("rssm", version_1_rssm(), 78, "rssm"), ("rssmo", version_1_rssmo(), None, "rssmo-v1")],
)
def test_a_checkpoint_of_version_1_is_recognised(tmp_path, name, shapes, num_tensors, family):
    assert num_tensors in (None, len(shapes))
    checkpoint = published.load(write(tmp_path, config(name), shapes))
    model = checkpoint.world_model
    assert checkpoint.arguments["rssm"]["family"] == family
    assert not model.baseline_probes and set(model.probes) == set(SENSORS)
    features = np.full((1, FEATURES), 50.0, np.float32)
    image = model.decoders["image"](features).mean()
    assert image.min() >= 0.0 and image.max() <= 1.0  # a sigmoid
    dist = model.probes["height"](features)
    np.testing.assert_allclose(dist.log_prob(dist.mean()), -0.5 * np.log(2 * np.pi), rtol=1e-6)
    assert published.environment(checkpoint.config) == "walker-walk"


def test_one_step_of_version_1_is_that_of_pytorchs_cell(tmp_path):
    model = published.load(write(tmp_path, config("rssm"), version_1_rssm())).world_model
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    cell = torch.nn.GRUCell(S + A, D)
    cell.load_state_dict({n.split(".")[1]: v for n, v in state.items() if n.startswith("memory_cell.")})
    expected = cell(torch.full((1, S + A), 0.5), torch.full((1, D), 0.2)).detach().numpy()
    ours = model.rssm.advance(
        model.rssm.initial(1).replace(deter=np.full((1, D), 0.2), stoch=np.full((1, S), 0.5)),
        np.full((1, A), 0.5, np.float32),
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    shapes = version_1_rssm()
    renamed = {("prior_mean.net.9.bias" if n == "prior_mean.net.4.bias" else n): s for n, s in shapes.items()}
    with pytest.raises(ValueError, match=r"missing tensors \['prior_mean.net.4.bias'\], unexpected .*net.9"):
        published.load(write(tmp_path, config("rssm"), renamed))
    shapes["prior_mean.net.4.bias"] = (S + 1,)
    with pytest.raises(ValueError, match=r"prior_mean.net.4.bias has shape \(5,\), the model expects \(4,\)"):
        published.load(write(tmp_path, config("rssm"), shapes))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    broken = {"prior_mean.net.4.bias": torch.full((S,), torch.nan)}
    with pytest.raises(ValueError, match="not finite, in prior_mean.net.4.bias"):
        published.load(write(tmp_path, config("rssm"), version_1_rssm(), **broken))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    write(tmp_path, config("rssm"), version_1_rssm())
    torch.save({"weight": print}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged or asks for more than tensors; nothing of it was") as error:
        published.load(tmp_path)
    assert "trust the source" not in str(error.value), "PyTorch's advice is to open it unsafely"


def test_new_heads_start_from_scratch(tmp_path):
    folder = write(tmp_path, config("rssm"), version_1_rssm())
    model = published.load(folder, new_heads=("viper_reward", "is_terminal")).world_model
    assert model.targets == ("image", "viper_reward", "is_terminal")
    with pytest.raises(ValueError, match="unexpected"):
        published.load(
            write(tmp_path, config("rssm"), version_1_rssm(), stray=torch.zeros(1)), new_heads=("x",)
        )


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
        published.load(write(tmp_path, changed, version_1_rssm()))


def filled_encoder(options, in_size, tensors, **version):
    """Our encoder for published options, with the tensors of the published one."""
    encoder = make_vector_encoder(in_size, rngs=nnx.Rngs(0), **published.vector_options(options, **version))
    names = mlp_names("", ("encoder", "net"), encoder.net)
    published.fill(nnx.Dict(encoder=encoder), tensors, {n[1:]: p for n, p in names.items()}, "reference")
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
    options = published.vector_options(dict(name="mlp", output_activation="gelu"), first_version=True)
    assert options["output_activation"] == "gelu_exact" and options["activation"] == "elu"


def test_an_encoder_without_a_head_does_not_look_at_the_options_of_one():
    headless = dict(name="mlp", have_head=False, hidden_size=H)
    asked = published.vector_options(headless | dict(out_features=H, output_activation="tanh"))
    assert asked == published.vector_options(headless)
    with pytest.raises(
        ValueError, match="out_size and output_activation are of the encoder's head; pass head"
    ):
        make_vector_encoder(5, name="mlp", out_size=7, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("option", ["out_features", "output_activation"])
def test_a_decoder_has_no_end_of_its_own(option):
    with pytest.raises(ValueError, match=f"Options {option} of the network 'dmlp' are not supported"):
        published.vector_options(dict(name="dmlp") | {option: "tanh"})


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
        published.load(write(tmp_path, changed, version_1_rssm()))
    assert str(error.value) == (
        f"world_model.{option}: 'bn' (BatchNorm) in config.yaml is not supported. Known for vectors: null, 'ln', "
        "'rms'; image networks have the norms that belong to their name, cnn_ha or dreamer_resnet."
    )


def test_a_norm_that_nobody_knows_is_refused_too(tmp_path):
    with pytest.raises(ValueError, match="world_model.norm: 'group' in config.yaml is not supported. Known"):
        changed = config("rssm")
        changed["world_model"]["norm"] = "group"
        published.load(write(tmp_path, changed, version_1_rssm()))


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
        published.load(write(tmp_path, changed, version_1_rssm()))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\x00\x81", "config.yaml is not YAML"),
        (b"world_model: &a {x: *a}\nenv: {}", "config.yaml: world_model.x refers to itself"),
    ],
)
def test_a_damaged_configuration_is_one_sentence(tmp_path, content, reason):
    write(tmp_path, config("rssm"), version_1_rssm())
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        published.load(tmp_path)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, "model.pt holds no {name: tensor}"),
        ([1], "model.pt holds no {name: tensor}"),
        ({1: torch.zeros(2)}, r"model.pt holds 1 \(Tensor\) where names and tensors should be"),
        ({"state_dict": {}}, r"holds 'state_dict' \(dict\) .*save the state dict itself"),
        (
            {"x": torch.zeros(1).expand(10**7, 10**6)},
            "model.pt: x is complex, sparse or larger than the file",
        ),
    ],
)
def test_what_is_no_state_dict_is_one_sentence(tmp_path, state, reason):
    write(tmp_path, config("rssm"), version_1_rssm())
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=reason):
        published.load(tmp_path)


def test_a_policy_or_value_network_of_another_model_is_refused(tmp_path):
    folder = write(tmp_path, config("rssm"), version_1_rssm())
    for name, shapes, sentence in (
        (
            "policy.pt",
            mlp("mean_net", 99, 5) | mlp("std_net", 99, 5),
            "policy makes 5 numbers of 99 features",
        ),
        (
            "vnet.pt",
            mlp("vnets.r.vnet", 99, 1) | mlp("vnets.r.vnet_target", 99, 1),
            "r makes 1 numbers of 99",
        ),
    ):
        torch.save({n: torch.zeros(shape) for n, shape in shapes.items()}, folder / name)
        with pytest.raises(ValueError, match=f"{name}: {sentence}.*of {FEATURES}; take it from the same run"):
            published.load(folder)
        (folder / name).unlink()


def test_a_list_of_heads_of_version_1_is_one_ensemble():
    tensors = {f"emb_prediction_heads.{k}.net.0.weight": np.full((2, 3), k) for k in range(3)}
    stacked = published.stack_ensemble(tensors | {"other": np.zeros(1)})
    assert set(stacked) == {"other", "emb_prediction_heads.net.0.weight"}
    np.testing.assert_array_equal(stacked["emb_prediction_heads.net.0.weight"][:, 0, 0], [0, 1, 2])


def test_value_networks_of_both_versions_load(tmp_path):
    state = {n: torch.ones(s) for n, s in mlp("", FEATURES, 1).items()}
    first = {n[1:]: v for n, v in state.items()}
    second = {
        f"vnets.viper_reward.{part}{n}": v for part in ("vnet", "vnet_target") for n, v in state.items()
    }
    for tensors, reward in ((first, "reward"), (second, "viper_reward")):
        torch.save(tensors, tmp_path / "vnet.pt")
        ((name, (online, target)),) = published.load_value_networks(tmp_path / "vnet.pt").items()
        assert name == reward
        np.testing.assert_array_equal(online(np.ones((1, FEATURES))), target(np.ones((1, FEATURES))))


def test_a_policy_with_norms_loads(tmp_path):
    shapes = mlp("mean_net", FEATURES, A, norm=True) | mlp("std_net", FEATURES, A, norm=True)
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "policy.pt")
    assert published.load_policy(tmp_path / "policy.pt")(np.ones((2, FEATURES))).mean.shape == (2, A)
    torch.save({"logits_net.net.0.weight": torch.ones(1)}, tmp_path / "policy.pt")
    with pytest.raises(ValueError, match="no 'mean_net' tensors; it is not a published policy"):
        published.load_policy(tmp_path / "policy.pt")


def test_a_version_2_name_in_a_configuration_without_version_is_still_version_2():
    tensors = {"memory_cell.weight_ih": 0, "decoders.is_terminal.prob_net.net.0.weight": 0}
    assert not published.is_version_1({}, tensors)
    assert published.is_version_1({}, {"memory_cell.weight_ih": 0})
    assert not published.is_version_1({"version": {"version": 2.0}}, {"memory_cell.weight_ih": 0})
