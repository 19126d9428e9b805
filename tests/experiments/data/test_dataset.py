"""The dataset tool: statistics, checks of files and of the way images stand, mixes, rendering, videos."""

import base64
import multiprocessing
import pathlib
import re
import threading
import time
import zlib

import h5py
import numpy as np
import pytest

import worldmodels.registry
from agents.loop import collect_episodes
from agents.noise import UniformActor
from experiments.configs.dataset import get_config
from experiments.data.checks import ACCIDENTS, alignment, check_files, orientation
from experiments.data.dataset import run
from experiments.envs import registry, rendering
from experiments.envs.fake import FakePointMass
from experiments.envs.vector import VectorEnvironment
from worldmodels.data.episodes import (
    Episode,
    EpisodeError,
    load_episodes,
    read_episode,
    write_episode,
)
from worldmodels.data.records import stack_records


def played(seed=0, image=None, num_steps=4, **metadata):
    """An episode of the fake environment; `image` turns its pictures."""
    environment = FakePointMass(episode_length=num_steps, render_size=16)
    rng = np.random.default_rng(seed)
    records = [environment.reset(seed)]
    states = [environment.physics_state()]
    for _ in range(num_steps):
        records.append(environment.step(rng.uniform(-1, 1, 2)))
        states.append(environment.physics_state())
    stacked = stack_records(records) | {"physics_state": np.stack(states)}
    if image is not None:
        stacked["image"] = np.stack([image(each) for each in stacked["image"]])
    return Episode(stacked, environment.metadata() | metadata)


def folder_of(path, *episodes, suffix=".hdf5"):
    for number, episode in enumerate(episodes):
        write_episode(path / f"{number}{suffix}", episode)
    return path


def config_of(preset, data, **changes):
    config = get_config(preset)
    config.update({"data": str(data), **changes})
    return config


def without(episode, *names):
    return Episode({n: v for n, v in episode.records.items() if n not in names}, episode.metadata)


# Statistics and mixes -----------------------------------------------------------------------------------------


def test_statistics_are_a_table_of_all_folders(tmp_path, capsys):
    folder_of(tmp_path / "a", played(0), played(1))
    folder_of(tmp_path / "b", played(2))
    result = run(config_of("statistics", tmp_path))
    assert result[str(tmp_path / "a")]["num_episodes"] == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[2].replace(" ", "").startswith(f"|{tmp_path / 'a'}|2|10|4.0|")


def test_a_mix_takes_some_of_each(tmp_path):
    folders = [folder_of(tmp_path / name, played(0), played(1)) for name in "ab"]
    result = run(
        config_of("mix", ",".join(map(str, folders)), limit=1, mode="backward"), str(tmp_path / "out")
    )
    assert result["num_episodes"] == 2
    np.testing.assert_array_equal(
        load_episodes(tmp_path / "out" / "episodes")[1].records["position"], played(1).records["position"]
    )


# Checks -------------------------------------------------------------------------------------------------------


def test_good_files_pass(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rendering, "find_backend", lambda: "none is needed here")
    result = run(config_of("check", folder_of(tmp_path, played(0), played(1))))
    assert result["problems"] == {}
    assert "All 2 files are as they should be." in capsys.readouterr().out


def test_files_of_float32_pass_with_a_note(tmp_path, capsys):
    with h5py.File(tmp_path / "0.hdf5", "w") as file:
        for name, value in played().records.items():
            file[name] = value.astype(np.float32)
    notes = run(config_of("check", tmp_path, draw=False))["notes"]
    assert notes["image 'image' is stored as float32, four times or more the bytes of uint8"] == 1
    assert "Note: in 1 of 1 files" in capsys.readouterr().out


def test_every_bad_file_is_named_with_the_reason(tmp_path, capsys):
    folder_of(tmp_path, played(0), played(1), played(2))
    content = (tmp_path / "1.hdf5").read_bytes()
    (tmp_path / "1.hdf5").write_bytes(content[: len(content) // 2])
    with h5py.File(tmp_path / "2.hdf5", "a") as file:
        file["velocity"][1] = np.nan
    with pytest.raises(EpisodeError, match="2 of 3 files are not as they should be"):
        run(config_of("check", tmp_path, draw=False))
    output = capsys.readouterr().out
    assert "1.hdf5: is not a readable episode, it is damaged" in output
    assert "2.hdf5: 'velocity' has NaN or infinite values" in output


def test_a_file_with_nothing_but_groups_has_no_other_array(tmp_path, capsys):
    with h5py.File(tmp_path / "0.hdf5", "w") as file:
        file["observations/position"] = np.zeros(3)
    with pytest.raises(EpisodeError, match="1 of 1 files"):
        run(config_of("check", tmp_path, draw=False))
    assert "is_last, is_terminal; it has no other array." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: r["is_first"].fill(False), "is_first is set at records none"),
        (lambda r: r["is_last"].fill(True), r"is_last is set at records 0, 1, 2, 3, 4; expected the last, 4"),
        (lambda r: r["is_terminal"].fill(True), "is_terminal is set before the last"),
        (lambda r: r["reward"].fill(1), "reward of record 0 is not zero"),
        (lambda r: r["pre_action"].fill(3), "pre_action reaches 3"),
        (
            lambda r: r.update(pre_action=np.roll(r["pre_action"], -1, axis=0)),
            "actions may be one record early",
        ),
    ],
)
def test_misalignment_is_found(change, sentence):
    records = {name: value.copy() for name, value in played().records.items()}
    assert list(alignment(records)) == []
    change(records)
    assert any(re.search(sentence, found) for found in alignment(records))


def test_sensors_that_some_files_or_the_environment_have_are_missed(tmp_path, capsys):
    folder_of(tmp_path, played(0), without(played(1), "velocity"))
    with pytest.raises(EpisodeError, match="1 of 2"):
        run(config_of("check", tmp_path, draw=False))
    output = capsys.readouterr().out
    assert "1.hdf5: lacks velocity, which 0.hdf5 has." in output
    assert "fake-pointmass has the sensors velocity, the file has not" in output


@pytest.mark.parametrize("name", list(ACCIDENTS)[1:])
def test_images_that_stand_wrong_are_told_apart(name):
    drawn = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert orientation(ACCIDENTS[name](drawn), drawn) == name
    assert orientation(drawn, drawn) is None


def test_turned_images_are_found_in_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rendering, "find_backend", lambda: "none is needed here")
    folder_of(tmp_path, played(0), played(1, image=ACCIDENTS["upside down"]))
    with pytest.raises(EpisodeError, match="1 of 2"):
        run(config_of("check", tmp_path))
    assert "1.hdf5: the images are upside down, judged by" in capsys.readouterr().out


def test_images_without_physics_states_are_compared_with_a_start_of_the_named_environment(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(rendering, "find_backend", lambda: "none is needed here")
    turned = without(played(0, image=ACCIDENTS["upside down"]), "physics_state")
    folder_of(tmp_path, without(played(0), "physics_state"), turned)
    with pytest.raises(EpisodeError, match="1 of 2"):
        run(config_of("check", tmp_path, env="fake-pointmass"))
    assert "1.hdf5: the images are upside down, judged by a drawn picture" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Unknown task 'cart'"):
        run(config_of("check", tmp_path, env="fake-cart"))


def test_images_without_physics_states_are_said_not_to_be_compared(tmp_path, capsys):
    folder_of(tmp_path, *(without(played(seed), "physics_state") for seed in (0, 1)))
    (note,) = run(config_of("check", tmp_path))["notes"]
    assert note.startswith("the images are not compared with drawn ones, because there is no physics_state")
    assert "Note: in 2 of 2 files the images are not compared" in capsys.readouterr().out


def test_what_cannot_be_drawn_spoils_no_other_check(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rendering, "find_backend", lambda: "none is needed here")
    state = played().records["physics_state"]
    nameless, odd = (
        played(),
        [
            played(environment="fake-nothing"),
            played(rendering={"quality": "medium"}),
            played(seed=0, image=ACCIDENTS["upside down"]),
            Episode(played().records | {"physics_state": state[:, :3]}, played().metadata),
        ],
    )
    del nameless.metadata["environment"]
    for number, episode in enumerate([nameless, *odd]):
        folder_of(tmp_path / str(number), episode)
    with pytest.raises(EpisodeError, match="3 of 5"):
        run(config_of("check", tmp_path))
    output = capsys.readouterr().out
    assert f"{tmp_path / '0' / '0.hdf5'} on are not compared with drawn ones: they do not say which" in output
    assert (
        f"{tmp_path / '1' / '0.hdf5'}: the environment is not known (Unknown task 'nothing' of 'fake'"
        in output
    )
    assert (
        f"{tmp_path / '2' / '0.hdf5'} on are not compared with drawn ones: Unknown render_quality" in output
    )
    assert f"{tmp_path / '3' / '0.hdf5'}: the images are upside down" in output
    assert (
        f"{tmp_path / '4' / '0.hdf5'}: its last physics state cannot be drawn (A physics state of" in output
    )


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"action_repeat": 3}, "the action repeat is 3, in 0.hdf5 1"),
        ({"control_seconds": 0.1}, "the seconds per step is 0.1, in 0.hdf5 0.05"),
        ({"rendering": {"quality": "fast"}}, "the quality of images is fast, in 0.hdf5 published"),
        ({"rendering": {"quality": "published", "camera": 2}}, "the camera is 2, in 0.hdf5 published"),
        ({"environment": "cheetah-run", "source": "elsewhere"}, "the body is cheetah, in 0.hdf5 fake"),
    ],
)
def test_files_of_another_setup_are_found(tmp_path, capsys, metadata, sentence):
    drawn = {"rendering": {"quality": "published", "camera": None}}
    folder_of(tmp_path, played(0, **drawn), played(1, **{**drawn, **metadata}))
    with pytest.raises(EpisodeError, match="1 of 2"):
        run(config_of("check", tmp_path, draw=False))
    assert f"1.hdf5: {sentence}" in capsys.readouterr().out


def test_other_tasks_are_noted(tmp_path):
    source = {"source": "elsewhere"}
    folder_of(tmp_path, played(0, environment="fake-a", **source), played(1, environment="fake-b", **source))
    notes = run(config_of("check", tmp_path, draw=False))["notes"]
    assert notes["the task is fake-b, in 0.hdf5 fake-a"] == 1


def test_folders_that_are_not_learnt_from_together_are_noted(tmp_path):
    one, other = (folder_of(tmp_path / name, played(0, action_repeat=n)) for name, n in (("a", 1), ("b", 3)))
    found = run(config_of("check", f"{one},{other}", draw=False))
    note = f"the action repeat is 3, in {one} 1, so that they are not learnt from together"
    assert found["notes"] == {note: 1} and not found["problems"]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (lambda image: image // 255, "image 'image' never exceeds 1 of 255"),
        (lambda image: 0 * image, "image 'image' never exceeds 1 of 255"),
        (lambda image: 0 * image + 90, "image 'image' has one value everywhere, 90, and no content"),
    ],
)
def test_images_without_content_are_found(tmp_path, capsys, image, sentence):
    folder_of(tmp_path, played(0), played(1, image=image))
    with pytest.raises(EpisodeError, match="1 of 2"):
        run(config_of("check", tmp_path, draw=False))
    assert f"1.hdf5: {sentence}" in capsys.readouterr().out


def test_what_is_ignored_is_noted_and_an_absent_success_is_nothing_wrong(tmp_path):
    folder_of(tmp_path, played(0), without(played(1), "success"))
    with h5py.File(tmp_path / "1.hdf5", "a") as file:
        file["more/height"], file["note"] = np.zeros(5), "text"
    notes = run(config_of("check", tmp_path, draw=False))["notes"]
    assert {
        "'more' is a group; it is ignored",
        "'note' is text or Python objects, which are never loaded; it is ignored",
    } <= {*notes}


# A small episode with 8 bytes inserted, which HDF5 never finishes reading.
HANGING = """
eNrt3D1v00AcBvC/XwLXlgqXIgidIsTQCTJ0KF3qijh0qGihMLcWdYmltEWOJSpQJUbYGBkZWZDyERATEgsDAwNI/QiMbOHOd4cT
FxxRYeTQ57ec78WXyD1fnzpVni83mpPjM+MkMEY2OdSvp9T9wbru31Slocpnqnxt6nYr6auqdkfN/35N1luq/e4dzxOjexn6deq2
LGsEJ9Gyt5SsmK6qq+VDh16xr2vQKbm2DV2flaUpG+zM+s/WLb7yxfFUbZFY0uLS3ATN9SzZX+Gtot+05IQTfH5xYOgJDlhyD7Uf
b/+cv2Kk9wFTd5ZlWvuV9C0YSZe8cn/1eqzfWm2Ia6Imp5qVP35Wle7V/HHzev+4nj/OVeXHRv44vYt1L+aP09fx++V/u57Ffmf8
Yr87N+S87tnBena9MWwVAAAAAP8VnvMO+V/U3xZfTZL79LTBXNEyLdr7D/ojIQAAAIz87/+ReR75tpq+hcKeR/7uOdrYkPPe4Tka
AAAAAHJ0OXM0u1LiHP0BORoAAAAAOfqPcrTMxVVTtjlM9zFqLq2se0k2vefpk46bq+2juXrt2mCuVjPMF5Kjbcr/QP7TkByND/MB
AAAAkKNLkqNfLpQoR39GjgYAAABAjh6NHP2iWUCO1lpB+KAVEz2Mgg3/fhzu7cr2KHjkR1tEYWdjO4w6sR7P622fV3kZB9FOuOu3
B67TZkE/v+Pm/i/I/QAAAAAnypT6xq/s9w+eUf8nbdAYnedpeyeI/S0/9vV5l3hQF2c6lOb8/rwopqnfTjPkzRurK0mfQ0fGCU8O
dOCc+XrBeTPdUdXsc2kAAAAAAAAAKL8fSDbntA==
"""


def hanging_file(path):
    path.write_bytes(zlib.decompress(base64.b64decode(HANGING)))


def test_a_file_that_is_never_read_to_its_end_is_named(tmp_path, capsys):
    folder_of(tmp_path, *(played(seed) for seed in range(3)))
    hanging_file(tmp_path / "1.hdf5")
    with pytest.raises(EpisodeError, match="1 of 3"):
        run(config_of("check", tmp_path, draw=False, seconds=1.0))
    assert "1.hdf5: cannot be read within 1 s; it may be damaged" in capsys.readouterr().out


def test_a_file_that_ends_its_reader_is_named(tmp_path):
    hanging_file(tmp_path / "1.hdf5")
    folder_of(tmp_path, played())

    def kill_the_reader():
        while not (readers := multiprocessing.active_children()):
            time.sleep(0.1)
        time.sleep(2.0)
        readers[0].kill()

    killer = threading.Thread(target=kill_the_reader)
    killer.start()
    paths = [tmp_path / "1.hdf5", tmp_path / "0.hdf5"]
    problems = [checked.problems for _, checked in check_files(paths, seconds=60.0)]
    killer.join()
    assert problems == [
        ["ends the process that reads it; it may be damaged: move it elsewhere or make it again"],
        [],
    ]


# Rendering and videos -----------------------------------------------------------------------------------------


def test_stored_states_become_images_of_any_size(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder_of(tmp_path / "data" / "a", *(without(played(seed), "image") for seed in range(3)))
    result = run(config_of("render", "~/data", image_size=16), "~/out")
    assert result == {"num_episodes": 3, "num_images": 15}
    for seed in range(3):
        episode = read_episode(tmp_path / "out" / "episodes" / "a" / f"{seed}.hdf5")
        np.testing.assert_array_equal(episode.records["image"], played(seed).records["image"])
        assert episode.metadata["rendering"]["size"] == [16, 16]
        assert episode.metadata["rendering"]["quality"] == "published"


def test_interrupted_rendering_draws_only_what_is_missing(tmp_path):
    folder_of(tmp_path / "data", *(without(played(seed), "image") for seed in range(3)))
    run(config_of("render", tmp_path / "data", image_size=16), str(tmp_path / "out"))
    (tmp_path / "out" / "episodes" / "1.hdf5").unlink()
    (tmp_path / "out" / "DONE").unlink()
    result = run(config_of("render", tmp_path / "data", image_size=16), str(tmp_path / "out"))
    assert result["num_images"] == 5
    assert len(load_episodes(tmp_path / "out" / "episodes")) == 3


def test_episodes_of_observations_are_played_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[1] / "envs")
    monkeypatch.setattr(registry.ENVIRONMENTS, "_parts", dict(registry.ENVIRONMENTS.items()))
    registry.register("observed-pointmass", "failing_renderers:make_from_observation")
    original = played(num_steps=4, environment="observed-pointmass")
    stored = without(original, "image", "physics_state", "velocity", "success")
    stored.records["state"] = stored.records.pop("position")
    folder_of(tmp_path / "data", stored)
    run(config_of("render", tmp_path / "data", image_size=16, workers=1), str(tmp_path / "out"))
    (episode,) = load_episodes(tmp_path / "out" / "episodes")
    np.testing.assert_array_equal(episode.records["image"], original.records["image"])
    np.testing.assert_allclose(episode.records["state"], original.records["position"], atol=1e-6)
    assert episode.metadata["state_error"] < 1e-6
    assert "physics_state" in episode.records and "success" in episode.records


def test_an_environment_that_cannot_be_put_into_an_observed_state_says_so(tmp_path):
    stored = without(played(), "physics_state")
    stored.records["state"] = stored.records.pop("position")
    with pytest.raises(ValueError, match="fake-pointmass cannot be put into an observed state"):
        run(config_of("render", folder_of(tmp_path / "a", stored), workers=1), str(tmp_path / "out"))


def test_what_cannot_be_drawn_is_one_sentence(tmp_path):
    folder_of(tmp_path / "a", without(played(), "physics_state"))
    with pytest.raises(EpisodeError, match="has no physics_state to draw from"):
        run(config_of("render", tmp_path / "a"), str(tmp_path / "out"))
    nameless = played()
    nameless.metadata = {}
    with pytest.raises(EpisodeError, match="does not say which environment"):
        run(config_of("render", folder_of(tmp_path / "b", nameless)), str(tmp_path / "out2"))


def test_an_environment_that_draws_itself_is_drawn_by_playing_again(tmp_path):
    with VectorEnvironment("user_environments:draws", 1, seed=0, episode_length=4, action_repeat=2) as envs:
        (episode,) = collect_episodes(envs, UniformActor(1, 1, seed=0), 1)
    folder_of(tmp_path / "data", episode)
    with pytest.raises(ValueError, match="repeat the name: .*--import=user_environments:draws"):
        run(config_of("render", tmp_path / "data", image_size=8, workers=1), str(tmp_path / "refused"))
    worldmodels.registry.load("user_environments:draws")
    run(config_of("render", tmp_path / "data", image_size=8, workers=1), str(tmp_path / "out"))
    (drawn,) = load_episodes(tmp_path / "out" / "episodes")
    assert drawn.records["image"][:, 0, :, 0].argmax(axis=1).tolist() == [0, 2, 4, 5]


def test_no_code_is_imported_that_a_file_names(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rendering, "find_backend", lambda: "none is needed here")
    (tmp_path / "code_of_a_stranger.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    folder_of(tmp_path / "data", played(environment="code_of_a_stranger:make_env"))
    assert run(config_of("check", tmp_path / "data"))["problems"] == {}
    assert "would import code of their choice" in capsys.readouterr().out
    for preset, workdir in (("render", "out"), ("export", "video")):
        changes = {} if preset == "render" else {"recorded": False}
        with pytest.raises(EpisodeError, match="0.hdf5 names the environment 'code_of_a_stranger:make_env'"):
            run(config_of(preset, tmp_path / "data", **changes), str(tmp_path / workdir))


def test_rendering_into_the_folder_that_is_read_is_refused(tmp_path):
    folder_of(tmp_path / "episodes", without(played(), "image"))
    for data in (tmp_path / "episodes", tmp_path):
        with pytest.raises(EpisodeError, match="overlaps with .* choose another --workdir"):
            run(config_of("render", data), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["episodes"]


@pytest.mark.parametrize(("file_format", "recorded"), [("gif", True), ("mp4", False)])
def test_an_episode_becomes_a_video(tmp_path, file_format, recorded):
    folder_of(tmp_path / "data", played())
    config = config_of("export", tmp_path / "data", format=file_format, recorded=recorded, image_size=32)
    result = run(config, str(tmp_path / "out"))
    assert result["num_frames"] == 5
    assert (tmp_path / "out" / f"episode.{file_format}").stat().st_size > 100


@pytest.mark.parametrize(
    ("preset", "key", "value"),
    [
        *(("export", "fps", value) for value in (-3.0, 0.0, float("inf"), float("nan"))),
        *((preset, "image_size", value) for preset in ("export", "render") for value in (0, -64)),
        ("render", "workers", 0),
    ],
)
def test_numbers_that_nothing_is_drawn_with_are_named_before_anything_is_written(
    tmp_path, preset, key, value
):
    data = folder_of(tmp_path / "data", played())
    with pytest.raises(ValueError, match=f"^{key} is {value}; pass a positive number of .*--config.{key}"):
        run(config_of(preset, data, **{key: value}), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_mistakes_name_what_is_known(tmp_path):
    with pytest.raises(ValueError, match="--config.data=DIR"):
        run(get_config("check"))
    with pytest.raises(ValueError, match="--workdir=DIR"):
        run(config_of("mix", folder_of(tmp_path, played())))
    with pytest.raises(ValueError, match="holds 1 episodes, numbered from 0; there is no 7"):
        run(config_of("export", tmp_path, episode=7), str(tmp_path / "out"))
    with pytest.raises(EpisodeError, match="There is no folder"):
        run(config_of("statistics", tmp_path / "absent"))
