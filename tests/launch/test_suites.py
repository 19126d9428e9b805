"""The papers' tables: as many cells as they have, each with the stages behind it."""

import pathlib

import pytest

from experiments.configs import baseline, surrogate
from launch.runs import Output, check_settings, load_config
from launch.state_suites import SHARES, STATE_SUITES
from launch.suites import SUITES, runs_of
from worldmodels.data.episodes import subsample

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "experiments" / "configs"


def cells(name, **chosen):
    """Runs of methods, without stages and the random policy."""
    return [
        run for run in runs_of(name, chosen) if "method" in run.labels and run.labels["method"] != "random"
    ]


@pytest.mark.parametrize(
    ("name", "number"),
    [("walker18", 18), ("cheetah24", 24), ("dmc9", 9), ("metaworld6", 6 * 2), ("metaworld50", 50 * 2)],
)
def test_a_table_has_its_cells(name, number):
    suite = SUITES[name]
    first = {"setup": [suite.setups[0]], "method": [next(iter(suite.methods))], "seed": [0]}
    assert len(cells(name, **first)) == number


def test_directories_are_suite_task_method_seed():
    runs = cells("walker18", task=["walk"], dataset=["mix"], setup=["lpomdp"], method=["aime"], seed=[3])
    assert [run.name for run in runs] == ["walker18-walk/aime-mix-lpomdp/seed_003"]


def test_a_cell_brings_its_stages_in_order():
    runs = runs_of(
        "walker18", {"task": ["run"], "dataset": ["walk"], "setup": ["mdp"], "method": ["aime"], "seed": [1]}
    )
    names = [run.name for run in runs]
    assert set(names) == {
        "walker18-run/random/seed_000",
        "walker18-data/walk/seed_000",
        "walker18-model/walk-mdp/seed_001",
        "walker18-data/run/seed_000",
        "walker18-run/aime-walk-mdp/seed_001",
    }
    assert all(names.index(need) < names.index(run.name) for run in runs for need in run.needs)


@pytest.mark.parametrize("method", (*baseline.METHODS, *surrogate.METHODS))
def test_any_baseline_is_a_method_of_a_table(method):
    chosen = {"task": ["run"], "dataset": ["walk"], "setup": ["mdp"], "method": [method], "seed": [1]}
    runs = runs_of("walker18", chosen)
    check_settings(runs)
    own, needs = runs[-1], {need.partition("/")[0] for need in runs[-1].needs}
    main = "surrogate" if method in surrogate.METHODS else "baseline"
    name = (
        method if method == "bc" else f"{method}-walk"
    )  # BC needs no embodiment data: one run for all of them
    assert (own.name, own.main) == (f"walker18-run/{name}-mdp/seed_001", main)
    assert ("walker18-model" in needs) == (method == "mbbc")


def test_the_mixture_is_that_of_the_paper():
    runs = {run.name: run for run in runs_of("walker18", {"dataset": ["mix"], "setup": ["mdp"]})}
    assert [name.split("/")[1] for name in runs["walker18-data/mix/seed_000"].needs] == [
        "random",
        "p2e",
        "stand",
        "walk",
    ]


def test_stages_are_shared_by_the_cells_that_need_them():
    names = [run.name for run in runs_of("cheetah24", {"setup": ["mdp"]})]
    assert len(names) == len(set(names))
    assert sum(name.startswith("cheetah24-model/") for name in names) == 6 * 5


def test_data_are_the_same_whichever_cells_are_chosen():
    everything = {run.name: run for run in runs_of("walker18")}
    assert all(run == everything[run.name] for run in runs_of("walker18", {"setup": ["mdp"], "seed": [0]}))
    assert everything["walker18-data/random/seed_000"].settings["image_size"] == 64


def test_who_explores_for_visual_cells_sees_and_records_images():
    def explorer(name, **chosen):
        (run, *_) = (run for run in runs_of(name, chosen) if run.main == "dreamer")
        return run.settings

    assert explorer("dmc9")["setup"] == "visual" and explorer("dmc9")["image_size"] == 64
    assert explorer("walker18", setup=["mdp"])["setup"] == "visual"


def test_nothing_is_seen_in_a_suite_without_a_visual_set_up():
    assert not any("image_size" in run.settings for run in runs_of("walker18:tiny"))


@pytest.mark.parametrize("name", ["metaworld6", "metaworld50"])
def test_world_models_of_metaworld_are_the_published_ones(name):
    configs = {run.config for run in runs_of(name) if run.name.split("/")[1].startswith("mt")}
    config = load_config(*configs)
    assert (config.world_model.rssm.deter_size, config.batch_size, config.length) == (1024, 16, 64)


@pytest.mark.parametrize("name", ["walker18", "cheetah24", "dmc9", "metaworld6", "metaworld50"])
def test_a_trial_has_the_cells_of_the_table_with_tiny_presets(name):
    trial = runs_of(f"{name}:trial")
    expected = [run.name.replace(name, f"{name}-trial", 1) for run in runs_of(name, {"seed": [0]})]
    assert [run.name for run in trial] == expected
    assert all("tiny" in run.config or run.config == "collect:mix" for run in trial)
    played = [run for run in trial if run.config.startswith(("collect:sac", "collect:uniform", "dreamer"))]
    assert all(run.settings["episode_length"] == 20 for run in played)


def test_robots_of_a_suite_have_data_of_their_own():
    names = [run.name for run in runs_of("dmc9", {"seed": [0]})]
    assert {"dmc9-data/p2e-walker/seed_000", "dmc9-data/p2e-hopper/seed_000"} <= set(names)
    assert sum(name.startswith("dmc9-data/p2e-") for name in names) == 6


def test_a_comparison_of_whole_pipelines_repeats_data_with_the_seed():
    chosen = {"task": ["runbackward"], "setup": ["mdp"], "method": ["aime", "bc"], "seed": [0, 2]}
    runs = {run.name: run for run in runs_of("ilfo-state", chosen)}
    for seed in (0, 2):
        for data in ("runbackward", "run", "flail-cheetah", "p2e-cheetah"):
            assert runs[f"ilfo-state-data/{data}/seed_00{seed}"].settings["seed"] == seed
        own = runs[f"ilfo-state-runbackward/aime-other-mdp/seed_00{seed}"]
        assert own.needs == (
            f"ilfo-state-model/other-runbackward-mdp/seed_00{seed}",
            f"ilfo-state-data/runbackward/seed_00{seed}",
        )
        assert runs[own.needs[0]].needs == (f"ilfo-state-data/run/seed_00{seed}",)
    assert len([name for name in runs if "/bc-" in name]) == 2


def test_a_comparison_of_whole_pipelines_has_every_method():
    assert {"aime", *baseline.METHODS, *surrogate.METHODS} <= set(SUITES["ilfo-state"].methods)
    assert len(cells("ilfo-state", task=["walk"], setup=["mdp"], method=["aime"], seed=[0])) == 3


def test_rows_of_the_comparison_have_encoders_flows_and_rewards_besides():
    chosen = {"task": ["runbackward"], "dataset": ["flailing"], "setup": ["lpomdp"], "seed": [1]}
    runs = {run.name: run for run in runs_of("ilfo-state", chosen)}
    check_settings(runs.values())

    def row(method):
        data = (
            "lpomdp" if method == "bc-flow" else "flailing-lpomdp"
        )  # BC reads no data of the body, its encoder does
        return runs[f"ilfo-state-runbackward/{method}-{data}/seed_001"]

    for name in ("dynamo", "inverse_dynamics"):
        encoder = runs[f"ilfo-state-model/flailing-cheetah-lpomdp-{name}/seed_001"]
        assert encoder.config == f"pretrain:{name}-small"
        for method in ("bc", "bco", "ot"):
            own = row(f"{method}-{name.replace('_', '-')}")
            assert own.settings["encoder"] == Output(encoder.name)
            assert ("embodiment" in own.settings) == (method == "bco")
    for method in ("bc", "bco"):
        assert row(f"{method}-flow").settings.items() >= {"head": "flow", "chunk": 8}.items()
    for name, reward in {"ail": "ail", "difo": "difo", "orca": "orca", "no-reward": "none"}.items():
        own = row(f"aime-nob-{name}")
        assert own.settings["reward.name"] == reward and own.settings["policy_from"] == Output(
            row("aime").name
        )


def test_levels_of_exogenous_noise_share_the_expert_and_have_data_of_their_own():
    chosen = {"method": ["aime", "lawm", "clam"], "seed": [1]}
    runs = {run.name: run for run in runs_of("exogenous", chosen)}
    assert [name for name, run in runs.items() if run.config == "collect:sac"] == [
        "exogenous-data/exogenous-0/seed_001"
    ]
    shown = runs["exogenous-data/shown-exogenous-4/seed_001"]
    assert shown.needs == ("exogenous-data/exogenous-0/seed_001",)
    assert shown.settings["env"] == "cheetah-runbackward?exogenous=4"
    assert shown.settings["seed"] == 1001  # the embodiment data start elsewhere
    mix = runs["exogenous-data/flailing-cheetah-exogenous=4/seed_001"]
    assert [runs[name].config for name in mix.needs] == ["collect:rhythmic", "collect:uniform"]
    assert all(runs[name].settings["env"] == "cheetah-runbackward?exogenous=4" for name in mix.needs)
    for level, demonstrations in (
        ("0", "exogenous-0"),
        ("4", "shown-exogenous-4"),
        ("16", "shown-exogenous-16"),
    ):
        run = runs[f"exogenous-exogenous-{level}/clam-flailing-lpomdp/seed_001"]
        assert f"exogenous-data/{demonstrations}/seed_001" in run.needs


def test_imitators_have_other_bodies_than_their_demonstrator():
    runs = {run.name: run for run in runs_of("variation", {"seed": [1]})}
    varied = "cheetah-runbackward?mass=0.5&friction=0.5&length=0.1"
    shown = runs["variation-data/shown-bodies-0.5/seed_001"]
    assert shown.settings["source"] == Output("variation-data/bodies-0/seed_001")
    assert "env" not in shown.settings  # the expert's
    for method in ("aime", "bco", "lawm", "lapo", "clam"):
        run = runs[f"variation-bodies-0.5/{method}-flailing-lpomdp/seed_001"]
        assert run.settings["env"] == varied and shown.name in run.needs
    data = runs["variation-data/flailing-cheetah-mass=0.5-friction=0.5-length=0.1/seed_001"]
    assert all(runs[name].settings["env"] == varied for name in data.needs)


def test_methods_that_learn_from_video_know_few_actions_of_all_data():
    runs = {run.name: run for run in runs_of("exogenous", {"task": ["exogenous-4"], "seed": [0]})}
    model = runs["exogenous-model/flailing-cheetah-exogenous=4-lpomdp-lawm_model/seed_000"]
    lapo = runs["exogenous-exogenous-4/lapo-flailing-lpomdp/seed_000"]
    for run, number in ((model, "num_episodes"), (lapo, "num_embodiment")):
        assert run.settings["unlabelled"] == run.settings["embodiment"] and run.settings[number] == 10
    assert runs["exogenous-exogenous-4/lawm-flailing-lpomdp/seed_000"].settings["model"].run == model.name
    assert "unlabelled" not in runs["exogenous-exogenous-4/bco-flailing-lpomdp/seed_000"].settings


def test_labels_are_known_of_a_share_of_all_kinds_of_data():
    chosen = {"task": ["runbackward"], "dataset": ["share-1", "share-100"], "seed": [1]}
    runs = {run.name: run for run in runs_of("labels", chosen)}
    everything, few = (runs[f"labels-data/share-{share}-cheetah/seed_001"] for share in (100, 1))
    assert [runs[name].config for name in everything.needs] == ["collect:uniform", "collect:rhythmic"]
    assert few.needs == (everything.name,)
    assert few.settings | {"limit": 4, "mode": "uniform", "seed": 1} == few.settings
    first, second, third = (
        runs[f"labels-model/share-1-cheetah-lpomdp{model}/seed_001"]
        for model in ("", "-lawm_model", "-lawm_u_model")
    )
    assert first.needs == (few.name,) and second.needs == (few.name, everything.name)
    assert second.settings == first.settings | {"unlabelled": Output(everything.name, "episodes")}
    assert third.settings == second.settings | {"latent_actions.reads": "u"}
    assert third.config == second.config == first.config == "pretrain:medium"
    for method, needed in (("aime", first), ("lawm", second), ("lawm-u", third), ("bco", few)):
        assert needed.name in runs[f"labels-runbackward/{method}-share-1-lpomdp/seed_001"].needs


@pytest.mark.parametrize("stage", SHARES)
def test_a_quarter_of_the_labels_is_of_the_quarter_of_episodes_without_rhythm(stage):
    settings = SUITES["labels"].stages[stage].settings
    chosen = subsample(100 * ["uniform"] + 300 * ["rhythmic"], settings["limit"], mode=settings["mode"])
    assert len(chosen) == 4 * float(stage.removeprefix("share-"))
    assert abs(chosen.count("uniform") - len(chosen) / 4) < 1


def test_seeds_of_labels_are_whole_pipelines_with_the_data_of_the_comparison_from_state():
    chosen = {"task": ["runbackward"], "method": ["bco"], "seed": [2]}
    ours, theirs = (
        {run.name.partition("/")[2]: run for run in runs_of(name, {**chosen, **more})}
        for name, more in (("labels", {}), ("ilfo-state", {"dataset": ["flailing"], "setup": ["lpomdp"]}))
    )
    for data in ("runbackward", "flail-cheetah", "rhythmic-cheetah"):
        mine, other = (runs[f"{data}/seed_002"] for runs in (ours, theirs))
        assert (mine.config, mine.settings) == (other.config, other.settings)


def test_extraneous_demonstrations_are_learnt_from_with_and_without_the_filter():
    runs = {run.name: run for run in runs_of("extraneous", {"seed": [2]})}
    assert len([name for name in runs if name.startswith("extraneous-model/")]) == 2  # AIME's and LAWM's
    for share in ("0", "25", "50"):
        shown = runs[f"extraneous-data/shown-extraneous-{share}/seed_002"]
        assert shown.settings["extraneous.share"] == int(share) / 100 and shown.settings["num_episodes"] == 50
        for method in ("aime", "bco", "lawm", "lapo", "clam"):
            plain, filtered = (
                runs[f"extraneous-extraneous-{share}/{name}-noisy-mdp/seed_002"]
                for name in (method, f"{method}-eil")
            )
            assert plain.needs == filtered.needs and shown.name in plain.needs
            assert filtered.settings == {**plain.settings, "common_parts.max_gap": 6}


def test_online_methods_begin_where_offline_aime_ends():
    runs = {run.name: run for run in runs_of("metaworld6-state", {"task": ["sweep"], "seed": [2]})}
    aime = runs["metaworld6-state-sweep/aime-mt39-mdp/seed_002"]
    for variant in ("ail", "viper", "ot", "no-reward", "no-regulariser"):
        run = runs[f"metaworld6-state-sweep/aime-nob-{variant}-mt39-mdp/seed_002"]
        assert run.settings["policy_from"] == Output(aime.name)
        assert run.settings["model"] == aime.settings["model"]
        assert run.settings["demonstrations"] == aime.settings["demonstrations"]
        assert ("embodiment" in run.settings) == (variant != "no-regulariser")
    data, shown = (runs[f"metaworld6-state-data/{name}/seed_002"] for name in ("mt39", "shown-sweep"))
    assert data.settings["tasks"] == "mt39" and shown.settings["tasks"] == "metaworld-sweep"
    assert data.settings["seed"] != shown.settings["seed"]


def test_every_suite_has_both_small_variants():
    assert all(
        f"{name}:{variant}" in SUITES for name in SUITES if ":" not in name for variant in ("tiny", "trial")
    )


@pytest.mark.parametrize("name", STATE_SUITES)
def test_small_variants_of_suites_from_state_have_the_same_methods(name):
    expected = [run.name.replace(name, f"{name}-trial", 1) for run in runs_of(name, {"seed": [0]})]
    assert [run.name for run in runs_of(f"{name}:trial")] == expected
    for variant in ("trial", "tiny"):
        runs = runs_of(f"{name}:{variant}")
        assert all("tiny" in run.config for run in runs)
        methods = {run.labels["method"] for run in runs if "method" in run.labels}
        assert methods - {"random"} == set(SUITES[name].methods)
    varied = {"fake-pointmass?exogenous=4", "fake-pointmass?mass=0.5"}
    assert {run.labels["env"] for run in runs} <= {"fake-pointmass", "", *varied}


def test_settings_of_a_stage_can_be_changed():
    runs = runs_of("walker18:tiny", {"model.num_updates": [3]})
    assert [run.settings["num_updates"] for run in runs if run.labels.get("stage") == "model"] == [3]


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"task": ["fly"]}, "has no task 'fly'. Known: stand, walk, run"),
        ({"sed": [1]}, "has no axis 'sed'"),
        ({"model.num_updates": [1, 2]}, "Vary it in a grid"),
    ],
)
def test_mistakes_are_explained(chosen, sentence):
    with pytest.raises(ValueError, match=sentence):
        runs_of("walker18", chosen)


def test_an_unknown_suite_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown suite 'walker'. Known: walker18"):
        runs_of("walker")


@pytest.mark.parametrize("name", SUITES)
def test_every_key_of_every_suite_is_known_to_its_config(name):
    runs = runs_of(name)
    missing = {run.config.partition(":")[0] for run in runs} - {path.stem for path in CONFIGS.glob("*.py")}
    if missing:
        pytest.skip(f"there is no config {', '.join(sorted(missing))} in this version")
    check_settings(runs)
