"""The published sizes: parameters of the visual set-up, counted without memory."""

import jax
import numpy as np
import pytest

from experiments.configs import pretrain
from experiments.models import architectures
from worldmodels.data.episodes import Episode

WALKER = {"orientations": 14, "height": 1, "velocity": 9}


def architecture(preset: str, action_size: int, env: str = "walker-walk", setup: str = "visual") -> dict:
    records = {name: np.zeros((2, size), np.float32) for name, size in WALKER.items()}
    records |= {"image": np.zeros((2, 64, 64, 3), np.uint8), "pre_action": np.zeros((2, action_size))}
    config = pretrain.get_config(preset).world_model.to_dict()
    return architectures.world_model(config, env, setup, [Episode(records, {})])


def num_parameters(arch: dict) -> int:
    model = jax.eval_shape(lambda: architectures.build_world_model(arch, jax.random.key(0)))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(model))


@pytest.mark.parametrize(
    ("preset", "action_size", "millions"),
    [
        ("", 6, 9.74),
        ("rssmo-discrete", 6, 13.4),
        ("rssmo-m", 4, 32.4),
        ("rssmo-l", 4, 72.1),
        ("rssmo-xl", 4, 197.7),
        ("rssm", 6, 7.32),
    ],
)
def test_a_published_size_has_the_published_number_of_parameters(preset, action_size, millions):
    decimals = len(str(millions).partition(".")[2])
    assert round(num_parameters(architecture(preset, action_size)) / 1e6, decimals) == millions


def test_the_larger_sizes_train_on_the_published_windows():
    config = pretrain.get_config("rssmo-m")
    assert (config.batch_size, config.length) == (16, 64)


def test_predicting_the_embedding_makes_every_sensor_a_probe():
    config = pretrain.get_config("tiny").world_model.to_dict() | dict(predict_emb=True, use_probes=True)
    records = {name: np.zeros((2, size), np.float32) for name, size in WALKER.items()}
    records |= {"pre_action": np.zeros((2, 6))}
    arch = architectures.world_model(config, "walker-walk", "lpomdp", [Episode(records, {})])
    assert arch["targets"] == ["emb"] and arch["momentum"] == 0.01
    assert arch["probes"] == ["velocity", "orientations", "height"]
