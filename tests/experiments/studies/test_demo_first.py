"""The robot that is part of the package, and the first demo, which needs nothing else."""

import numpy as np

import experiments
import worldmodels
from experiments.configs import demo as demo_config
from experiments.studies import demo

BUNDLE = experiments.bundled()


def test_the_bundle_is_small_and_shows_no_action():
    files = [path for path in BUNDLE.home.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5e6
    shown = worldmodels.load_episodes(BUNDLE.demonstrations)
    assert len(shown) == 10 and {episode.records["pre_action"].shape[-1] for episode in shown} == {0}
    assert all(
        np.abs(episode.records["pre_action"]).max() > 0 for episode in worldmodels.load_episodes(BUNDLE.body)
    )


def test_the_world_model_of_the_bundle_knows_the_body_and_its_policy_runs():
    models = worldmodels.load(BUNDLE.model)
    (episode,) = worldmodels.load_episodes(BUNDLE.body, limit=1)
    data = worldmodels.SequenceDataset.create([episode], length=50, sensors=models.world_model.inputs)
    truth, prediction = worldmodels.open_loop(
        models.world_model, worldmodels.windows(data, range(8)), context=10
    )
    truth, prediction = truth["position"][:, 10:20], prediction["position"][:, 10:20]
    assert np.square(truth - prediction).mean() < 0.5 * np.var(truth)


def test_the_first_demo_learns_from_the_bundle_alone(tmp_path):
    config = demo_config.get_config("first")
    config.video = False
    config.imitate.update(num_updates=2, updates_per_dispatch=2, save_every=2, batch_size=2, length=8)
    config.imitate.evaluation.update(every=2, episodes=1, final_episodes=1)
    result = demo.run(config, tmp_path)
    assert "AIME" in result["table"] and (tmp_path / "report.html").is_file()
