"""The robots that are part of the package, and the first demo, which needs nothing else."""

import numpy as np
import pytest

import experiments
import worldmodels
from experiments.configs import collect as collect_config
from experiments.configs import demo as demo_config
from experiments.methods import collect
from experiments.studies import demo

ROBOTS = {name: experiments.bundled(name) for name in ("cheetah", "pointmass")}


def test_the_bundle_is_small():
    home = ROBOTS["cheetah"].home.parent
    assert sorted(path.name for path in home.iterdir()) == sorted(ROBOTS)
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < 5e6


@pytest.mark.parametrize("bundle", ROBOTS.values(), ids=ROBOTS)
def test_a_robot_shows_no_action_and_knows_its_own(bundle):
    shown = worldmodels.load_episodes(bundle.demonstrations)
    assert len(shown) == 10 and {episode.records["pre_action"].shape[-1] for episode in shown} == {0}
    assert all(
        np.abs(episode.records["pre_action"]).max() > 0 for episode in worldmodels.load_episodes(bundle.body)
    )


@pytest.mark.parametrize("bundle", ROBOTS.values(), ids=ROBOTS)
def test_a_world_model_of_the_bundle_foresees_more_than_that_nothing_moves(bundle):
    models = worldmodels.load(bundle.model)
    (sensor,) = models.world_model.inputs
    data = worldmodels.SequenceDataset.create(
        worldmodels.load_episodes(bundle.body), length=20, sensors=[sensor]
    )
    batch = worldmodels.windows(data, range(0, data.num_windows, data.num_windows // 8))
    truth, prediction = (
        part[sensor] for part in worldmodels.open_loop(models.world_model, batch, context=10)
    )
    error, still = (np.square(truth[:, 10:] - guess).mean() for guess in (prediction[:, 10:], truth[:, 9:10]))
    assert error < 0.75 * still
    assert np.square(truth - prediction).mean() < 0.5 * np.var(truth)


def test_the_first_demo_learns_from_the_bundle_alone(tmp_path):
    config = demo_config.get_config("first")
    config.video = False
    config.imitate.update(num_updates=2, updates_per_dispatch=2, save_every=2, batch_size=2, length=8)
    config.imitate.evaluation.update(every=2, episodes=1, final_episodes=1)
    result = demo.run(config, tmp_path)
    assert "AIME" in result["table"] and (tmp_path / "report.html").is_file()


def test_the_data_of_the_point_mass_are_what_its_script_collects(tmp_path):
    for preset, changes, name in (
        ("scripted-demonstrations", dict(tasks="fake-pointmass", workers=0), "demonstrations"),
        ("uniform", dict(env="fake-pointmass"), "body"),
    ):
        config = collect_config.get_config(preset)
        config.update(num_episodes=2, image_size=32, **changes)
        collect.run(config, tmp_path / name)
        made = worldmodels.load_episodes(next((tmp_path / name).rglob("0.*")).parent)
        kept = worldmodels.load_episodes(ROBOTS["pointmass"].home / name, limit=2)
        for one, other in zip(made, kept, strict=True):
            assert one.records.keys() == other.records.keys()
            assert all(np.array_equal(one.records[key], other.records[key]) for key in one.records)
