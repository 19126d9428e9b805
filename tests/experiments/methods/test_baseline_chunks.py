"""Policies that decide on several actions at once, or by a flow, as a user trains, loads and exports them."""

import dataclasses

import jax
import numpy as np
import pytest
from imitation_data import make_config, write_data
from interruption import assert_same_run, copied_after

from agents.actors import ModelActor
from agents.chunks import TemporalEnsemble
from agents.flow import FlowActor
from experiments.analysis import evaluate, export
from experiments.configs import pretrain as pretrain_config
from experiments.configs.baseline import get_config
from experiments.configs.collect import get_config as collect_config
from experiments.configs.evaluate import get_config as evaluate_config
from experiments.configs.export import get_config as export_config
from experiments.methods import baseline, collect, pretrain
from experiments.methods.baseline_mbbc import MBBC
from experiments.methods.baseline_recipes import BC
from experiments.models import files
from experiments.models.loading import load_run
from experiments.runs.settings import plain_config
from worldmodels.data.dataset import windows
from worldmodels.data.episodes import Episode, append_episode, load_episodes
from worldmodels.sequences import recorded

CHUNK = 3
ACTORS = {
    ("bco", "gaussian"): TemporalEnsemble,
    ("bc", "flow"): FlowActor,
    ("bco", "flow"): FlowActor,
    ("mbbc", "gaussian"): TemporalEnsemble,
    ("mbbc", "flow"): ModelActor,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def world_model(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("model") / "run"
    config = pretrain_config.get_config("tiny")
    config.update(embodiment=str(data / "embodiment"), num_updates=0)  # what it knows does not matter here
    pretrain.run(config, workdir)
    return str(workdir)


@pytest.fixture(scope="module")
def config_of(data, request):
    def make(method, head, **changes):
        config = make_config(get_config(f"{method}-tiny"), data, chunk=CHUNK, head=head, **changes)
        if method == "mbbc":
            config.model = request.getfixturevalue("world_model")
        else:
            config.fit.max_updates = 40
        return config

    return make


@pytest.fixture(scope="module", params=ACTORS, ids="-".join)
def trained(request, config_of, tmp_path_factory):
    """(method and head, directory, result) of two seeds."""
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = config_of(*request.param, num_seeds=2)
    rows = 3 if config.method == "bco" else 1  # the first of the policy
    with copied_after(rows, workdir, workdir.parent / "killed"):
        return request.param, workdir, baseline.run(config, workdir)


def test_a_run_is_loaded_and_evaluated_with_the_actor_that_it_was_trained_for(trained, tmp_path):
    kind, workdir, result = trained
    assert np.shape(result["return"]) == (2, 2) and np.shape(result["action_mse"]) == (2,)
    loaded = load_run(workdir)
    actor = loaded.actor(2)
    assert isinstance(actor, ACTORS[kind])
    with loaded.arena.make(2, seed=0) as envs:
        assert actor(envs.reset()).shape == (2, 2)
    scores = [evaluate.run(evaluate_config("tiny"), tmp_path, run=str(workdir)) for _ in range(2)]
    assert scores[0] == scores[1] and np.isfinite(scores[0]["return"]).all()


def test_an_export_acts_as_its_run(trained, tmp_path):
    _, workdir, _ = trained
    export.run(export_config(), "", run=str(workdir), to=str(tmp_path / "model"))
    loaded = load_run(workdir)
    exported = dataclasses.replace(loaded, models=files.load(tmp_path / "model").seed(0))
    position = np.float32([[0.3, -0.2], [-0.1, 0.4]])
    records = dict.fromkeys(("position", "velocity", "pre_action"), position) | {"is_first": np.ones(2, bool)}
    first = dataclasses.replace(loaded, models=loaded.models.agent(0))
    actors = [run.make_actor(2) for run in (first, exported)]
    for _ in range(CHUNK + 1):
        np.testing.assert_array_equal(*(actor(records) for actor in actors))
        records["is_first"] = np.zeros(2, bool)


@pytest.mark.parametrize("trained", [("bc", "flow")], ids="-".join, indirect=True)
def test_what_a_flow_shows_is_recorded_as_sampled(trained, tmp_path):
    _, workdir, _ = trained
    config = collect_config("demonstrations")
    config.update(source=str(workdir), num_episodes=1, num_envs=1)
    collect.run(config, tmp_path)
    (episode,) = load_episodes(tmp_path / "episodes")
    assert episode.metadata["policy"] == "baseline-sampled"


@pytest.mark.parametrize("trained", [("bc", "flow"), ("mbbc", "flow")], ids="-".join, indirect=True)
def test_a_seed_does_not_depend_on_its_neighbours(trained, config_of, tmp_path):
    kind, workdir, _ = trained
    baseline.run(config_of(*kind, seed=1), tmp_path / "single")
    together, alone = (files.load(path).policy for path in (workdir, tmp_path / "single"))
    for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours[1], theirs[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("trained", [("bco", "flow")], ids="-".join, indirect=True)
def test_a_run_that_is_killed_ends_bit_identical(trained, config_of):
    kind, reference, _ = trained
    killed = reference.parent / "killed"
    assert not (killed / "DONE").exists()
    baseline.run(config_of(*kind, num_seeds=2), killed)
    assert_same_run(killed, reference)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(chunk=0), "A chunk of 0 actions decides on nothing; give at least 1."),
        (dict(head="diffusion"), "Unknown head 'diffusion'. Known: gaussian, flow."),
        (dict(head="flow", euler_steps=0), "A flow of 0 steps comes to no action"),
    ],
)
def test_what_decides_on_nothing_is_refused(data, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        baseline.run(make_config(get_config("bc-tiny"), data, **changes), tmp_path)


@pytest.mark.parametrize("method", ["bc", "bco", "mbbc"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(chunk=0), "A chunk of 0 actions decides on nothing; give at least 1."),
        (dict(head="fluss"), "Unknown head 'fluss'. Known: gaussian, flow."),
        (dict(euler_steps=0), "A flow of 0 steps comes to no action; give euler_steps of at least 1."),
    ],
)
def test_wrong_decisions_are_told_before_anything_is_read(tmp_path, method, changes, message):
    config = make_config(get_config(f"{method}-tiny"), tmp_path / "nowhere", **changes)
    with pytest.raises(ValueError, match=message):
        baseline.run(config, tmp_path / "run")


@pytest.mark.parametrize("changes", [dict(chunk=3), dict(head="flow")])
@pytest.mark.parametrize("method", ["iidm", "pidm"])
def test_a_method_that_decides_on_one_action_says_so_before_anything_is_read(tmp_path, method, changes):
    config = make_config(get_config(f"{method}-tiny"), tmp_path / "nowhere")
    with config.unlocked():
        config.update(dict(chunk=1, head="gaussian", euler_steps=8) | changes)
    message = "decides on one action at a time, and by no flow; pass --config.chunk=1 --config.head=gaussian, or take"
    with pytest.raises(ValueError, match=message):
        baseline.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("method", "records", "most"), [("bc", 102, 24), ("bco", 102, 24), ("mbbc", 101, 25)]
)
def test_a_chunk_that_no_demonstration_has_is_refused(config_of, tmp_path, method, records, most):
    """Policies of frames read two first; episodes have 26 records."""
    config = config_of(method, "gaussian")
    config.update(dict(chunk=100) | (dict(length=200) if method == "mbbc" else {}))
    message = (
        f"A chunk of 100 actions needs a demonstration of {records} records or more, and the longest has 26; pass a "
        f"smaller --config.chunk, at most {most}."
    )
    with pytest.raises(ValueError, match=message):
        baseline.run(config, tmp_path / "run")


@pytest.mark.parametrize(("kind", "num_frames"), [(BC, 2), (MBBC, 1)])
def test_a_chunk_is_learnt_from_every_state_that_an_action_follows(config_of, tmp_path, kind, num_frames):
    """However short an episode is: those shorter than the chunk have states, too."""
    lengths = (26, 26, 3, 2)
    for episode, length in zip(
        load_episodes(config_of("bc", "gaussian").demonstrations), lengths, strict=True
    ):
        records = {name: values[:length] for name, values in episode.records.items()}
        records["is_last"] = np.arange(length) == length - 1
        append_episode(tmp_path / "cut", Episode(records, episode.metadata))
    windows_of = dict(length=CHUNK + 1) if kind is MBBC else {}
    config = config_of(kind.preset, "gaussian", demonstrations=str(tmp_path / "cut"), **windows_of)
    (fit,) = kind(plain_config(config)).fits
    batch = windows(fit.dataset, np.arange(fit.dataset.num_windows))
    decided = [max(length - num_frames, 1) for length in lengths]
    assert fit.dataset.num_windows == sum(decided)
    known = np.asarray(recorded(batch.is_last)[:, num_frames : num_frames + CHUNK])
    expected = sum(min(CHUNK, left) for length in lengths for left in range(1, length - num_frames + 1))
    assert known.sum() == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(chunk=8), "A window of 8 records has no state with 8 actions behind it; raise config.length."),
        (dict(head="flow", use_log_prob=True), "A flow says no likelihood to learn by"),
    ],
)
def test_what_mbbc_cannot_learn_is_refused(config_of, tmp_path, changes, message):
    config = config_of("mbbc", "gaussian")
    config.update(changes)
    with pytest.raises(ValueError, match=message):
        baseline.run(config, tmp_path)
