"""Options that steady online imitation: begin where offline AIME has ended, average the policy, clip parts alone."""

import pathlib

import jax
import numpy as np
import pytest
from interruption import assert_same_episodes, assert_same_run
from online_runs import config_of, interrupt_round, learner_of

from experiments.analysis import report
from experiments.configs import dreamer as dreamer_config
from experiments.configs import imitate as imitate_config
from experiments.configs import online as online_config
from experiments.configs import report as report_config
from experiments.methods import dreamer, imitate, online
from experiments.methods.online_parts import pretraining_end
from experiments.models import architectures, files
from experiments.models.loading import load_run
from experiments.runs.directory import Interrupted
from experiments.runs.metrics import read_rows
from experiments.runs.settings import read_config
from worldmodels import export
from worldmodels.checkpoints import Checkpoints, named_leaves
from worldmodels.export import Models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("steady")


@pytest.fixture(scope="module")
def offline(folder, paths):
    """A finished run of offline AIME."""
    shown = {name: paths[name] for name in ("model", "demonstrations")}
    imitate.run(config_of(imitate_config, **shown), folder / "offline")
    return str(folder / "offline")


@pytest.fixture(scope="module")
def config(offline, paths):
    """All options at once."""
    options = dict(average=0.5, average_plays=True, part_clip=1.0, model_lr_from_pretraining=True)
    options |= dict(reward__name="ail", analysis__balance=True, num_episodes=3, policy_from=offline)
    return config_of(online_config, **paths, **options)


@pytest.fixture(scope="module")
def finished(folder, config):
    online.run(config, folder / "run")
    return folder / "run"


def assert_same_leaves(one, other):
    one, other = named_leaves(one), named_leaves(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_a_run_begins_with_the_policy_of_offline_aime_and_its_score(finished, offline, paths):
    learner = learner_of(paths, policy_from=offline, average=0.5)
    for policy in (learner.policy, learner.evaluated_policy):
        assert_same_leaves(policy, files.load(offline, "policy").seed(0).policy)
    fresh = learner.optimizers.policy.init(learner.policy)
    assert_same_leaves(learner.state.policy.opt_state, fresh)
    assert [(row["episode"], row["update"]) for row in read_rows(finished / "eval.jsonl")][0] == (0, 0)
    assert [row["update"] for row in read_rows(finished / "metrics.jsonl")] == [2, 4, 6]  # nothing pretrained


def test_the_average_is_what_is_evaluated_and_kept(finished):
    _, arrays, _ = Checkpoints(finished / "checkpoints").read()
    kept = named_leaves(load_run(finished).policy())
    average = {name: value for name, value in arrays.items() if "average" in name}
    assert len(average) == len(kept)
    for value, own in zip(average.values(), kept.values(), strict=True):
        np.testing.assert_array_equal(value, own)


def test_a_run_that_is_interrupted_ends_bit_identical(finished, config, folder, monkeypatch):
    """Discriminator, average, optimizers and metrics among what continues."""
    played = interrupt_round(monkeypatch, 1)
    with pytest.raises(Interrupted):
        online.run(config, folder / "again")
    assert len(played) == 2
    online.run(config, folder / "again")
    assert_same_run(folder / "again", finished, ("checkpoints", "model"))
    assert_same_episodes(folder / "again" / "episodes", finished / "episodes")


def test_rows_say_whose_gradient_steers(finished):
    row = read_rows(finished / "metrics.jsonl")[-1]
    for name in ("evidence_grad_norm", "value_grad_norm", "evidence_value_cosine", "value_share", "clipped"):
        assert np.isfinite(row[f"train/policy/{name}"])
    assert row["train/policy/evidence_clipped"] in (0.0, 0.5, 1.0)


def test_evaluations_follow_the_reward_and_compare_imagined_with_realised_returns(finished):
    row = read_rows(finished / "eval.jsonl")[-1]
    names = [f"{part}_grad_norm" for part in ("evidence", "value", "entropy")]
    names += [
        f"reward_{which}_{third}"
        for which in ("demonstration", "own")
        for third in ("start", "middle", "end")
    ]
    names += ["evidence_value_cosine", "imagined_return", "realised_return", "critic_mean", "critic_std"]
    assert np.isfinite([row[f"analysis/{name}"] for name in names]).all()


def test_the_page_of_a_run_shows_what_steers_it(finished, tmp_path):
    config = report_config.get_config()
    config.runs = (str(finished),)
    page = pathlib.Path(report.run(config, tmp_path)["page"]).read_text()
    assert "What steers" in page and "The policy imagines a surrogate return of" in page
    assert (tmp_path / "figures" / "balance_0.png").is_file()


def test_the_models_learning_rate_continues_where_pretraining_has_ended(paths, tmp_path):
    optimizer = read_config(paths["model"])["optimizer"]
    assert pretraining_end(paths["model"]) == optimizer["learning_rate"] * optimizer["final_fraction"]
    with pytest.raises(
        ValueError, match="does not say with which learning rate.*model_optimizer.learning_rate"
    ):
        pretraining_end(str(tmp_path))


def test_a_policy_of_another_world_model_is_refused(paths, offline, tmp_path):
    opened = files.load(paths["model"])
    arch = opened.arguments["world_model"]
    model = architectures.build_world_model(arch, jax.random.key(7))
    other = str(export.save(tmp_path / "other", Models({"world_model": arch}, model, loss=opened.loss)))
    for main, defaults in ((online, online_config), (imitate, imitate_config), (dreamer, dreamer_config)):
        known = {key: value for key, value in paths.items() if key in defaults.get_config()}
        config = config_of(defaults, **{**known, "model": other, "policy_from": offline})
        with pytest.raises(ValueError, match="belongs to another world model than .*other"):
            main.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(average=1.0), "from 0 to below 1, got 1.0"),
        (dict(average_plays=True), "no running average to play with; set --config.average"),
        (dict(part_clip=-1.0), "norm above 0, got -1.0"),
    ],
)
def test_an_average_or_a_clipping_that_cannot_be_is_refused(paths, tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        online.run(config_of(online_config, **paths, **changes), tmp_path / "run")
