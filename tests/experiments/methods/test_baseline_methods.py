"""IIDM, MBBC, BCO(alpha) and images as a user runs them: tiny runs, refusals, stop and resume."""

import contextlib
import io
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clocks import assert_clocks
from imitation_data import make_config, write_data
from interruption import assert_same_run, copied_after

from agents.bco import bco_loss, inverse_dynamics_loss
from agents.fitting import FitSettings, continued
from experiments.analysis import evaluate
from experiments.configs import pretrain as pretrain_config
from experiments.configs.baseline import get_config
from experiments.configs.evaluate import get_config as evaluate_config
from experiments.envs.groups import episode_seed
from experiments.methods import baseline, baseline_rounds, pretrain
from experiments.models import files
from experiments.models.loading import load_run
from experiments.runs.metrics import Diverged, read_rows
from worldmodels.data.episodes import append_episode, episode_paths, load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("method", ["bco", "bco_alpha", "bc"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("position", r"of shape \[2\], the model was built for \[3\]"), ("pre_action", "gives 3")],
)
def test_an_environment_of_another_body_is_refused_before_training(data, tmp_path, method, name, message):
    for kind in ("embodiment", "demonstrations"):
        for episode in load_episodes(data / kind, limit=2):
            value = episode.records[name]
            episode.records[name] = np.concatenate([value, value[:, :1]], axis=1)
            append_episode(tmp_path / kind, episode)
    with pytest.raises(ValueError, match=f"The environment 'fake-pointmass' .*{message}"):
        baseline.run(make_config(get_config(f"{method}-tiny"), tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_iidm_learns_from_observations_alone_and_starts_from_the_forward_models_encoder(data, tmp_path):
    config = make_config(get_config("iidm-tiny"), data, "observations", num_seeds=2)
    result = baseline.run(config, tmp_path)
    assert np.shape(result["return"]) == (2, 2)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert "train/forward/validation_loss" in rows[0] and "train/policy/validation_loss" in rows[-1]
    assert load_run(tmp_path).kind == "baseline"


@pytest.fixture(scope="module")
def world_model(data, tmp_path_factory):
    """One that predicts the environment's reward, too, with which MBBC has nothing to do."""
    workdir = tmp_path_factory.mktemp("model") / "run"
    config = pretrain_config.get_config("tiny")
    config.update(embodiment=str(data / "embodiment"), num_updates=0)  # what it knows does not matter here
    config.world_model.predict_reward = True
    pretrain.run(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def mbbc_run(data, world_model, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("mbbc") / "run"
    config = make_config(get_config("mbbc-tiny"), data, model=str(world_model), num_seeds=2)
    return workdir, baseline.run(config, workdir)


def test_mbbc_acts_with_the_frozen_world_model(mbbc_run):
    workdir, result = mbbc_run
    assert np.shape(result["return"]) == (2, 2) and np.shape(result["action_mse"]) == (2,)
    loaded = load_run(workdir)
    with loaded.arena.make(2, seed=0) as envs:
        assert loaded.actor(2).__call__(envs.reset()).shape == (2, 2)


def plan(run, folder, planner, **changes):
    config = evaluate_config("tiny")
    config.update(planner=planner, episodes=1)
    with config.unlocked():
        config.options.update(changes)
    return evaluate.run(config, folder, run=str(run))


def test_a_run_whose_pretrained_world_model_predicts_the_reward_can_plan(mbbc_run, tmp_path):
    """As a run of `imitate` does, which is loaded alike."""
    assert np.shape(plan(mbbc_run[0], tmp_path, "cem")["return"]) == (2, 1)
    with pytest.raises(ValueError, match="Guided planning needs a critic of 'reward'"):
        plan(mbbc_run[0], tmp_path, "guided")
    assert np.shape(plan(mbbc_run[0], tmp_path, "guided", use_value=False)["return"]) == (2, 1)


def test_mbbc_refuses_demonstrations_without_actions_and_a_missing_model(data, world_model, tmp_path):
    with pytest.raises(ValueError, match="MBBC oracle needs the true actions, .* use AIME"):
        config = make_config(get_config("mbbc-tiny"), data, "observations", model=str(world_model))
        baseline.run(config, tmp_path / "a")
    with pytest.raises(ValueError, match="MBBC needs a pretrained world model; pass --config.model=DIR"):
        baseline.run(make_config(get_config("mbbc-tiny"), data), tmp_path / "b")


@pytest.fixture(scope="module")
def alpha_run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alpha") / "run"
    with copied_after(2, workdir, workdir.parent / "killed"):
        return workdir, baseline.run(make_config(get_config("bco_alpha-tiny"), data, "observations"), workdir)


def test_bco_alpha_plays_and_learns_in_rounds(alpha_run):
    workdir, result = alpha_run
    assert np.shape(result["return"]) == (1, 2) and result["num_episodes"] == [2 * 3]
    assert result["environment"]["environment"]
    single = workdir / "seeds" / "0"
    assert_clocks(single, *result["num_updates"])
    rows = read_rows(single / "metrics.jsonl")
    assert [row["train/num_episodes"] for row in rows] == [0, 3, 6]
    windows = [row["train/num_windows"] for row in rows]
    assert windows[0] < windows[1] < windows[2]
    assert len(episode_paths(single / "episodes")) == 6
    assert [row["final"] for row in read_rows(single / "eval.jsonl")] == [False, False, True]


def test_policies_of_bco_alpha_are_loaded_like_others(alpha_run):
    models = files.load(alpha_run[0])
    assert models.num_seeds == 1 and models.policy.num_frames == 2


def test_policies_without_a_world_model_cannot_plan(alpha_run, tmp_path):
    with pytest.raises(ValueError, match="a run of kind 'baseline', which has no world model to plan in"):
        plan(alpha_run[0], tmp_path, "cem")


def test_rounds_of_bco_alpha_learn_by_the_programs_of_the_first(data, tmp_path, monkeypatch):
    """Though each has more episodes than the one before, and another rule of stopping than the first."""
    rounds = {"idm": [], "policy": []}

    def counted(name, loss):
        def of_round(*arguments):
            rounds[name].append(len([*(tmp_path / "seeds" / "0" / "episodes").glob("*")]))
            return loss(*arguments)

        return of_round

    monkeypatch.setattr(baseline_rounds, "inverse_dynamics_loss", counted("idm", inverse_dynamics_loss))
    monkeypatch.setattr(baseline_rounds, "bco_loss", counted("policy", bco_loss))
    baseline.run(make_config(get_config("bco_alpha-tiny"), data, "observations"), tmp_path)
    assert {name: set(traced) for name, traced in rounds.items()} == {"idm": {0}, "policy": {0}}


def test_no_evaluation_episode_of_bco_alpha_enters_its_data(alpha_run):
    """What it learns from are the episodes of its rounds, whose starts are not those of evaluations."""
    episodes = load_episodes(alpha_run[0] / "seeds" / "0" / "episodes")
    seeds = [
        episode_seed(baseline_rounds._COLLECTION_SEED + first, n % 2, n // 2)
        for first in (0, 3)
        for n in range(3)
    ]
    assert [episode.metadata["seed"] for episode in episodes] == seeds
    evaluations = (get_config("bco_alpha-tiny").evaluation.seed + final for final in (0, 1))
    assert not set(seeds) & {episode_seed(seed, n, 0) for seed in evaluations for n in range(10)}


def test_bco_alpha_killed_between_rounds_ends_bit_identical(alpha_run, data):
    killed = alpha_run[0].parent / "killed"
    single = killed / "seeds" / "0"
    assert not (single / "DONE").is_file()
    baseline.run(make_config(get_config("bco_alpha-tiny"), data, "observations"), killed)
    assert_same_run(single, alpha_run[0] / "seeds" / "0")


def break_first_seed(patch):
    """Of the first seed, the weights that a network goes on with in round 1 are not numbers."""
    states = []

    def broken(state):
        states.append(state)
        state = continued(state)
        if len(states) > 2:  # the two networks of the first seed come first
            return state
        return state.replace(
            train=state.train.replace(model=jax.tree.map(lambda x: x * jnp.nan, state.train.model))
        )

    patch.setattr(baseline_rounds, "continued", broken)


@pytest.fixture
def first_seed_breaks(monkeypatch):
    break_first_seed(monkeypatch)


@pytest.fixture(scope="module")
def broken_run(data, tmp_path_factory):
    """(config, directory, result, what was printed on stderr) of two seeds, of which the first breaks."""
    workdir, printed = tmp_path_factory.mktemp("broken") / "run", io.StringIO()
    config = make_config(get_config("bco_alpha-tiny"), data, "observations", num_seeds=2)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(printed):
        break_first_seed(patch)
        result = baseline.run(config, workdir)
    return config, workdir, result, printed.getvalue()


def test_a_seed_of_bco_alpha_whose_loss_becomes_nan_ends_there_and_the_next_one_goes_on(
    broken_run, data, tmp_path
):
    _, workdir, result, errors = broken_run
    first, second = ([*read_rows(workdir / "seeds" / i / "eval.jsonl")] for i in "01")
    assert result["diverged"] == [{"seed": 0, "updates": first[-1]["num_updates"]}]
    assert [row["final"] for row in first] == [False, True], "it ends in round 1, evaluated to the end"
    assert [row["final"] for row in second] == [False, False, True]
    assert "Seed 0 has diverged in round 1 and ends." in errors
    assert np.isfinite(result["return"]).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(files.load(workdir).policy))

    alone = baseline.run(
        make_config(get_config("bco_alpha-tiny"), data, "observations", seed=1), tmp_path / "1"
    )
    assert result["return"][1] == alone["return"][0] and "diverged" not in alone


def test_a_seed_of_bco_alpha_that_has_diverged_does_not_go_on_when_the_run_continues(
    broken_run, first_seed_breaks, tmp_path
):
    config, workdir, result, _ = broken_run
    run = shutil.copytree(workdir, tmp_path / "run")
    (run / "DONE").unlink()
    (run / "seeds" / "0" / "DONE").unlink()  # as if killed between its last checkpoint and its end
    assert baseline.run(config, run) == result


def test_all_seeds_of_bco_alpha_that_diverge_are_an_error(first_seed_breaks, data, tmp_path):
    with pytest.raises(Diverged, match="Training has diverged, all 1 seeds"):
        baseline.run(make_config(get_config("bco_alpha-tiny"), data, "observations"), tmp_path)


@pytest.mark.parametrize("preset", ["bco_alpha", "bco_alpha-small", "bco_alpha-tiny"])
def test_bco_alpha_has_no_settings_for_evaluating_and_saving_within_a_round(preset):
    config = get_config(preset)
    assert "save_every" not in config and "every" not in config.evaluation


def test_the_published_settings_of_bco_alpha_are_the_default():
    config = get_config("bco_alpha")
    assert (config.network.merger, config.episodes_per_round, config.num_rounds) == ("flare", 20, 50)
    fit = config.fit
    assert (fit.batch_size, fit.min_epochs, fit.min_updates, fit.patience) == (256, 10, 5000, 3)
    assert fit.training_fraction == 0.7


@pytest.mark.parametrize(
    ("method", "published"),
    [
        ("bc", FitSettings(min_epochs=50, min_updates=0)),
        ("bco", FitSettings(min_epochs=50, min_updates=5000)),
        ("bco_alpha", FitSettings(batch_size=256, min_epochs=10, min_updates=5000)),
        ("iidm", FitSettings(min_epochs=50, min_updates=5000)),
        ("mbbc", FitSettings(min_epochs=50, min_updates=0)),
    ],
)
def test_by_default_a_method_stops_as_published(method, published):
    assert FitSettings(**get_config(method).fit) == published


def test_bco_learns_from_images(tmp_path):
    data = write_data(tmp_path / "data", render_size=64, episode_length=6)
    config = make_config(get_config("bco-tiny"), data, "observations", setup="visual")
    config.stack = 1
    config.fit.update(max_updates=2, updates_per_epoch=2, batch_size=2)
    with config.unlocked():
        config.network.image_encoder = dict(name="dreamer_resnet", width=2, blocks=0, minres=32)
    result = baseline.run(config, tmp_path / "run")
    assert np.shape(result["return"]) == (1, 2)
    loaded = load_run(tmp_path / "run")
    assert tuple(loaded.arena.options["render_size"]) == (64, 64)
