"""Images of TD-MPC2's mt80, which has none: a chunk of our own episodes, converted, played again and drawn."""

import numpy as np
import pytest

from experiments.configs import convert as convert_config
from experiments.configs import dataset as dataset_config
from experiments.data import convert, dataset
from experiments.data.converters import tdmpc2
from experiments.envs import registry, rendering, scripted
from worldmodels.data.episodes import read_episode
from worldmodels.data.records import stack_records

SIZE, NUM_STEPS = 32, 5


@pytest.fixture(scope="module")
def played(gl):
    """{task: records with images} of scripted experts."""
    return {task: play(f"metaworld-{task}") for task in ("push", "door-open")}


@pytest.fixture(scope="module", autouse=True)
def gl():
    """A backend that works, as a user has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MUJOCO_GL", raising=False)
        patch.setenv(rendering._PROBED, "?")
        if rendering.find_backend() is None:
            pytest.skip("OpenGL does not work here")
        yield


def play(name):
    environment = registry.make(name, render_size=SIZE, render_quality="fast")
    act = scripted.expert(name)
    records = [environment.reset(7)]
    for _ in range(NUM_STEPS):
        records.append(environment.step(act(records[-1])))
    environment.close()
    return stack_records(records)


def save_chunk(path, played):
    """As published: no images, actions of 6 numbers, float32, NaN for what led to the first record, a task number."""
    import torch

    def stacked(name):
        return torch.tensor(np.stack([records[name] for records in played.values()]), dtype=torch.float32)

    action, reward = torch.nn.functional.pad(stacked("pre_action"), (0, 2)), stacked("reward")
    action[:, 0], reward[:, 0] = float("nan"), float("nan")
    numbers = [tdmpc2.FIRST_METAWORLD_ID + tdmpc2.TASKS.index(task) for task in played]
    task = torch.tensor(numbers)[:, None].repeat(1, NUM_STEPS + 1)
    torch.save(dict(obs=stacked("state"), action=action, reward=reward, task=task), path)


def test_an_episode_of_mt80_is_drawn_as_it_looked(tmp_path, played):
    save_chunk(tmp_path / "chunk_11.pt", played)
    config = convert_config.get_config("tdmpc2-mt50")
    config.source = str(tmp_path)
    convert.run(config, tmp_path / "converted")
    config = dataset_config.get_config("render")
    config.update(
        dict(data=str(tmp_path / "converted" / "episodes"), image_size=SIZE, render_quality="fast", workers=1)
    )
    assert dataset.run(config, str(tmp_path / "drawn"))["num_images"] == len(played) * (NUM_STEPS + 1)
    for task, records in played.items():
        episode = read_episode(tmp_path / "drawn" / "episodes" / f"metaworld-{task}" / "0.hdf5")
        assert episode.metadata["played_again"] and episode.metadata["state_error"] < 1e-3
        images = episode.records["image"].astype(np.float32)
        assert np.abs(images - records["image"]).mean() < 0.5, f"{task} looks different"
        moved = np.abs(images[-1] - records["image"][0]).mean()
        assert moved > 2 * np.abs(images[-1] - records["image"][-1]).mean(), "frames can be told apart"
        np.testing.assert_allclose(episode.records["reward"], records["reward"], atol=1e-2)
