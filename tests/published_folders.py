"""Tiny folders as the authors published them, for tests: shapes of the tensors, configurations, files."""

import numpy as np
import yaml

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
    import torch

    generator = np.random.default_rng(seed)
    state = {n: torch.tensor(0.1 * generator.normal(size=s).astype(np.float32)) for n, s in shapes.items()}
    state |= {n: torch.zeros(shapes[n]) for n in ("initial_memory", "initial_state")}
    torch.save(state | tensors, folder / "model.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder
