"""GAIfO and optimal transport as a user runs them: tiny runs, refusals, stop and resume, loading."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clocks import assert_clocks
from imitation_data import make_config, write_data
from interruption import (
    SIGKILL,
    assert_same_episodes,
    assert_same_run,
    interrupting,
    killed,
    start,
    stop_after_rows,
    terminated,
)

from agents.observer import Observer
from agents.progress import Transport, best_rewards
from experiments.configs.collect import get_config as collect_config
from experiments.configs.pretrain import get_config as pretrain_config
from experiments.configs.surrogate import get_config
from experiments.envs.groups import episode_seed
from experiments.methods import collect, surrogate
from experiments.methods.surrogate import SurrogateRun
from experiments.methods.surrogate_features import moments, motion_features, sensor_frames
from experiments.models import architectures, files
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.export import Models


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def ot_run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("ot") / "run"
    return workdir, surrogate.run(make_config(get_config("ot-tiny"), data, "observations"), workdir)


@pytest.fixture(scope="module")
def gaifo_run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("gaifo") / "run"
    return workdir, surrogate.run(make_config(get_config("gaifo-tiny"), data, "observations"), workdir)


def test_optimal_transport_learns_from_observations_alone(ot_run):
    workdir, result = ot_run
    assert np.shape(result["return"]) == (1, 2) and len(result["by_expert"]) == 1
    assert result["environment"]["environment"]
    assert_clocks(workdir / "seeds" / "0", *result["num_updates"])
    rows = read_rows(workdir / "seeds" / "0" / "metrics.jsonl")
    assert all(name in rows[-1] for name in ("train/discount", "train/progress", "train/reward_scale"))


def test_no_evaluation_episode_enters_the_replay(ot_run):
    """All steps that it has learnt from are those of its episodes on disk, which start as training does."""
    workdir, result = ot_run
    episodes = load_episodes(workdir / "seeds" / "0" / "episodes")
    assert [e.metadata["seed"] for e in episodes] == [
        episode_seed(0, n % 2, n // 2) for n in range(len(episodes))
    ]
    assert result["agent_steps"] == [sum(e.length for e in episodes)]
    assert len(read_rows(workdir / "seeds" / "0" / "eval.jsonl")) > 1


def test_its_policy_demonstrates_with_the_observations_it_was_trained_on(ot_run, tmp_path):
    workdir, _ = ot_run
    config = collect_config("demonstrations-tiny")
    with config.unlocked():
        config.update(source=str(workdir), num_episodes=2, with_actions=True)
    collect.run(config, tmp_path / "run")
    shown = load_episodes(tmp_path / "run" / "episodes")
    assert {episode.metadata["policy"] for episode in shown} == {"ot-mode"}
    for episode in shown:
        actor = load_run(workdir).actor()
        seen = ({n: v[None, t] for n, v in episode.records.items()} for t in range(episode.num_records - 1))
        actions = [actor(record)[0] for record in seen]
        np.testing.assert_allclose(episode.records["pre_action"][1:], actions, atol=1e-6)


def save_model(data, folder, setup):
    """A world model as `pretrain` leaves it, which knows nothing."""
    config, episodes = pretrain_config("tiny").to_dict(), load_episodes(data / "embodiment")
    arch = architectures.world_model(config["world_model"], "fake-pointmass", setup, episodes)
    model = architectures.stacked(
        functools.partial(architectures.build_world_model, arch, episodes=episodes), 1
    )
    files.save(folder, config, Models({"world_model": arch}, model, num_seeds=1, loss=config["loss"]))


def test_optimal_transport_measures_between_embeddings_of_a_world_model(data, tmp_path):
    save_model(data, tmp_path / "model", "lpomdp")
    config = make_config(get_config("ot-tiny"), data, "observations", encoder=str(tmp_path / "model"))
    config.agent_steps = 150
    assert np.isfinite(surrogate.run(config, tmp_path / "run")["return"]).all()

    data_of_run = surrogate.load_data(config.to_dict())
    world_model = files.load(tmp_path / "model").seed(0).world_model
    encode = jax.jit(lambda model, position: model.encode({"position": position}))
    positions = [episode.records["position"] for episode in load_episodes(data / "observations")]
    embeddings = [np.asarray(encode(world_model, each)) for each in positions]
    mean, std = moments(np.concatenate(embeddings))
    found = data_of_run.features(data_of_run.demonstrations[0])
    np.testing.assert_allclose(found[:, : len(mean)], (embeddings[0] - mean) / std, atol=1e-4)
    save_model(data, tmp_path / "mdp", "mdp")
    config.encoder = str(tmp_path / "mdp")
    with pytest.raises(ValueError, match="reads velocity"):
        surrogate.run(config, tmp_path / "refused")


def test_a_finished_run_is_loaded_with_its_history(ot_run):
    loaded = load_run(ot_run[0])
    with loaded.arena.make(3, seed=0) as envs:
        actor = loaded.actor(3)
        records = envs.reset()
        for _ in range(3):
            records = envs.step(actor(records))
    assert actor(records).shape == (3, 2)


def interrupted(config, folder, call, end):
    """Ends a run in this process at a call of `play_together`."""
    with interrupting(SurrogateRun, "play_together", call, end):
        surrogate.run(config, folder)


def assert_begun(folder):
    """Something is saved, and the run is not over."""
    single = folder / "seeds" / "0"
    assert not (single / "DONE").is_file() and Checkpoints(single / "checkpoints").latest_step() > 0


def assert_continues(config, folder, finished):
    """The same command brings the run to the end of one that nothing has interrupted, to the bit."""
    reference, result = finished
    assert surrogate.run(config, folder) == result
    single, expected = folder / "seeds" / "0", reference / "seeds" / "0"
    assert_same_run(single, expected, checkpoints=("checkpoints", "model"))
    assert_same_episodes(single / "episodes", expected / "episodes")


def test_a_run_that_is_stopped_killed_and_continued_ends_bit_identical(ot_run, data, tmp_path):
    config = make_config(get_config("ot-tiny"), data, "observations")
    interrupted(config, tmp_path, 1, terminated)
    assert_begun(tmp_path)
    flags = [
        "--config=surrogate:ot-tiny", f"--config.demonstrations={data / 'observations'}",
        f"--config.embodiment={data / 'embodiment'}", f"--workdir={tmp_path}",
    ]  # fmt: skip
    metrics = tmp_path / "seeds" / "0" / "metrics.jsonl"
    # Rounds 1 and 2 are in a checkpoint, 3 is not.
    assert stop_after_rows(start("surrogate", *flags), metrics, 3, SIGKILL) == -SIGKILL
    assert_begun(tmp_path)
    assert_continues(config, tmp_path, ot_run)


def test_a_discriminator_continues_to_the_bit(gaifo_run, data, tmp_path):
    config = make_config(get_config("gaifo-tiny"), data, "observations")
    interrupted(config, tmp_path, 4, killed)
    assert_begun(tmp_path)
    assert_continues(config, tmp_path, gaifo_run)


def test_of_data_with_images_only_the_vectors_are_read(tmp_path, monkeypatch):
    read = []

    def spy(*args, **kwargs):
        episodes = load_episodes(*args, **kwargs)
        read.extend(value for episode in episodes for value in episode.records.values())
        return episodes

    monkeypatch.setattr(surrogate, "load_episodes", spy)
    folders = write_data(tmp_path, render_size=64, episode_length=4)
    data = surrogate.load_data(make_config(get_config("ot-tiny"), folders, "observations").to_dict())
    assert [values.shape for values in data.demonstrations] == [(5, 3 * 2)] * 4
    assert not any(isinstance(value, np.ndarray) and value.ndim == 4 for value in read)


def test_what_is_missing_is_named(data, tmp_path):
    with pytest.raises(ValueError, match="OT needs a folder of episodes; pass --config.demonstrations=DIR."):
        surrogate.run(get_config("ot-tiny"), tmp_path / "a")
    with pytest.raises(ValueError, match="needs image, which the demonstrations do not have as vectors"):
        surrogate.run(make_config(get_config("ot-tiny"), data, setup="visual"), tmp_path / "b")
    with pytest.raises(ValueError, match="Unknown method 'patchail'. Known: gaifo, ot, temporal_ot, orca."):
        surrogate.run(make_config(get_config("ot-tiny"), data, method="patchail"), tmp_path / "c")


def test_an_agent_begins_with_the_policy_of_another_reward(data, ot_run, tmp_path):
    """As ORCA after TemporalOT; until then only the critics learn, and no step is random."""
    options = dict(policy_from=str(ot_run[0]), show_time=False)
    config = make_config(get_config("orca-tiny"), data, "observations", **options)
    config.sac.actor_after = 10_000
    result = surrogate.run(config, tmp_path / "kept")
    kept, begun = (files.load(path, "policy").seed(0).policy for path in (tmp_path / "kept", ot_run[0]))
    jax.tree.map(np.testing.assert_array_equal, kept, begun)
    assert result["num_updates"][0] > 200, "of 300 steps none was random"
    config.show_time = True
    with pytest.raises(ValueError, match="does not read what this run reads; name a run of `surrogate`"):
        surrogate.run(config, tmp_path / "time")


def test_entropy_does_not_drown_the_rewards_of_a_step():
    """An episode of 500 steps has rewards of 10; the bonus is that of the uniform policy of a cheetah's six actions."""
    for preset in ("ot", "temporal_ot", "orca", "ot-small", "temporal_ot-small", "orca-small"):
        config = get_config(preset)
        bonus = config.sac.initial_temperature * 6 * np.log(2)
        assert bonus < 0.5 * config.transport.scale_target / 500


OBSERVER = Observer(("position",), 3)
PHASES = np.array([0.0, 0.2, 0.5, 0.9])


def gait(speed=1.0, noise=0.0):
    """What an agent sees of a gait of four joints with a period of 20 steps."""
    turns = speed * np.arange(101)[:, None] / 20 + PHASES
    return seen(np.sin(2 * np.pi * turns) + noise * np.random.default_rng(1).standard_normal((101, 4)))


def seen(positions):
    return OBSERVER.of_episode({"position": positions})


def cost_of(own, cost):
    """[] the cost of moving an agent's poses and motions to those of the gait."""
    features = motion_features(sensor_frames(OBSERVER, [Episode({"position": np.zeros((1, 4))})]), [gait()])
    own, shown = (jnp.asarray(features(observations)) for observations in (own, gait()))
    return -float(best_rewards(own, shown[None], Transport(), cost=cost)[0].sum())


def test_the_right_poses_at_the_wrong_speed_do_not_earn_what_the_expert_earns():
    """A gait at a quarter of its speed and backwards has its poses and not its motions."""
    steps = np.random.default_rng(0).uniform(-0.3, 0.3, (101, 4))
    flailing = cost_of(seen(np.cumsum(steps, axis=0)), "euclidean")
    assert cost_of(gait(), "euclidean") < 0.01 * flailing
    assert cost_of(gait(0.25), "euclidean") > 0.3 * flailing
    assert cost_of(gait(-1), "euclidean") > 0.5 * flailing


def test_who_moves_roughly_as_shown_earns_more_than_who_stands_still():
    """With the cosine of the presets; Euclidean costs favour the middle of what is shown."""
    rough, still = gait(noise=0.3), seen(np.zeros((101, 4)))
    for preset in ("ot", "temporal_ot", "orca"):
        cost = get_config(f"{preset}-small").transport.cost
        assert cost_of(gait(), cost) < cost_of(rough, cost) < 0.5 * cost_of(still, cost)
    assert cost_of(still, "euclidean") < cost_of(rough, "euclidean")
