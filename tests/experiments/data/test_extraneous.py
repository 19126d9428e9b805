"""Demonstrations with extraneous segments: recorded, seeded, and left out by what demonstrations have in common."""

import numpy as np
import pytest

from agents.noise import NOISES
from experiments.configs import collect as collect_config
from experiments.data.demonstrations import Demonstrations, is_extraneous
from experiments.methods import collect
from worldmodels.data.episodes import load_episodes


def collected(folder, **extraneous):
    """Returns episodes of the scripted expert of the fake environment."""
    config = collect_config.get_config("scripted-tiny")
    config.shares.update(expert=1.0, noisy=0.0, random=0.0)
    config.extraneous.update(extraneous)
    collect.run(config, folder)
    return load_episodes(folder / "episodes" / "fake-pointmass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extraneous")
    collected(folder / "whole")
    collected(folder / "parted", share=0.3)
    return folder


def read(folder, name):
    return load_episodes(folder / name / "episodes" / "fake-pointmass")


def test_segments_are_recorded_and_actions_differ_from_there(folder):
    whole, parted = read(folder, "whole"), read(folder, "parted")
    assert not any(is_extraneous(episode).any() for episode in whole)
    assert 0.1 < np.mean([is_extraneous(episode).mean() for episode in parted]) < 0.4
    for ours, theirs in zip(parted, whole, strict=True):
        assert ours.metadata["behaviour"] == "rhythmic"
        begins = (
            int(np.argmax(is_extraneous(ours))) if is_extraneous(ours).any() else len(is_extraneous(ours))
        )
        actions = [each.records["pre_action"] for each in (ours, theirs)]
        np.testing.assert_array_equal(actions[0][:begins], actions[1][:begins])
        assert begins == len(actions[0]) or (actions[0][begins] != actions[1][begins]).any()


def test_the_expert_returns_to_its_task(folder):
    whole, parted = (np.mean([e.return_ for e in read(folder, name)]) for name in ("whole", "parted"))
    random = collect_config.get_config("uniform-tiny")
    collect.run(random, folder / "random")
    flailing = np.mean([e.return_ for e in load_episodes(folder / "random" / "episodes")])
    assert flailing < parted - 1 < whole - 1


def test_a_continued_collection_has_the_same_segments(folder, tmp_path):
    config = collect_config.get_config("scripted-tiny")
    config.shares.update(expert=1.0, noisy=0.0, random=0.0)
    config.extraneous.share = 0.3
    for number in (5, 12):
        config.num_episodes = number
        collect.run(config, tmp_path / "run")
    again = load_episodes(tmp_path / "run" / "episodes")
    for ours, theirs in zip(again, read(folder, "parted"), strict=True):
        assert ours.metadata["extraneous"] == theirs.metadata["extraneous"]
        np.testing.assert_array_equal(ours.records["position"], theirs.records["position"])


def test_what_demonstrations_have_in_common_tells_of_them(folder, capsys):
    shown = Demonstrations.read(str(folder / "parted" / "episodes"))
    extraneous = sum(int(is_extraneous(episode).sum()) for episode in shown.episodes)
    common = shown.common(lambda episode: episode.records["position"], max_gap=1000, min_length=2)
    assert f"of {extraneous} extraneous ones {extraneous}, in 12 parts" in capsys.readouterr().out
    assert len(common.episodes) == 12
    assert all(
        episode.records["is_last"].tolist().index(True) + 1 == episode.num_records
        for episode in common.episodes
    )


def test_an_unknown_behaviour_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"behaviour 'dancing'. Known: {', '.join(NOISES)}"):
        collected(tmp_path, share=0.1, behaviour="dancing")
