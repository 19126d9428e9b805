"""What varies from episode to episode: a function of the episode's seed, recorded, and there in the simulation."""

import numpy as np
import pytest

from agents.loop import collect_episodes
from agents.noise import UniformActor
from experiments.configs import collect as collect_config
from experiments.data.arena import Arena
from experiments.data.scripted import environments_of
from experiments.envs import registry, rendering, variation
from experiments.envs.sensors import sensor_layout
from experiments.envs.vector import VectorEnvironment
from experiments.methods import collect
from worldmodels.data.episodes import load_episodes

FAKE = "fake-pointmass?mass=0.5&friction=0.2"
PUSH = np.array([0.5, -0.5], np.float32)


# Names and draws ------------------------------------------------------------------------------------------------------


def test_a_name_has_factors_and_amounts():
    name = "walker-walk?mass=0.2&camera=0.1"
    assert variation.split(name) == ("walker-walk", {"mass": 0.2, "camera": 0.1})
    assert variation.split("walker-walk") == ("walker-walk", {})
    assert variation.split("my.module:make?x=1") == ("my.module:make?x=1", {})  # theirs to read
    assert sensor_layout("finger-turn_hard?mass=0.1") == sensor_layout("finger-turn_hard")
    assert environments_of("push?mass=0.2,reach") == ["metaworld-push?mass=0.2", "metaworld-reach"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fake-pointmass?mass=much", "'mass=much' is no factor with an amount; a variation looks like"),
        ("fake-pointmass?mass=-1", "is no factor with an amount"),
        ("cartpole-balance?colours=2", "the share of colours and background is at most 1"),
        ("fake-pointmass?mass=1&mass=2", "names 'mass' twice"),
        ("fake-pointmass?exogenous=1.5", "exogenous points are counted"),
        (
            "fake-pointmass?light=1",
            "Unknown factor 'light' of 'fake-pointmass', which varies mass, friction, exogenous.",
        ),
        ("cartpole-dance?mass=0.1", "Unknown task 'dance' of 'cartpole'"),
    ],
)
def test_what_is_no_variation_is_refused_in_a_sentence(name, sentence):
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?").replace(".", r"\.")):
        registry.make(name)


def test_factors_are_a_function_of_the_seed_and_independent_of_each_other():
    assert variation.drawn(FAKE, 3) == variation.drawn(FAKE, 3) != variation.drawn(FAKE, 4)
    assert variation.drawn("a-b?mass=0.5", 3)["mass"] == variation.drawn(FAKE, 3)["mass"]
    scales = np.log([variation.drawn("a-b?mass=0.5", seed)["mass"] for seed in range(400)])
    assert np.abs(scales).max() <= np.log(1.5) and abs(scales.mean()) < 0.05 and scales.std() > 0.2


# Through collections --------------------------------------------------------------------------------------------------


def episodes_of(num_envs, first_episode=0, workers=0):
    options = dict(seed=5, first_episode=first_episode, workers=workers)
    with VectorEnvironment(FAKE, num_envs, **options) as envs:
        actor = UniformActor(num_envs, 2, seed=0, first_episode=first_episode)
        return collect_episodes(envs, actor, num_envs)


def test_factors_are_recorded_and_do_not_depend_on_what_steps_beside_or_came_before():
    alone, together, later = episodes_of(1), episodes_of(3, workers=2), episodes_of(3, first_episode=1)
    facts = [[episode.metadata for episode in episodes] for episodes in (alone, together, later)]
    assert facts[0][0]["factors"] == facts[1][0]["factors"] == variation.drawn(FAKE, facts[0][0]["seed"])
    assert len({str(fact["factors"]) for fact in (*facts[1], *facts[2])}) == 6
    assert facts[0][0]["environment"] == FAKE


def test_an_interrupted_collection_continues_with_the_same_factors(tmp_path):
    def collected(folder, *numbers):
        for number in numbers:
            config = collect_config.get_config("uniform-tiny")
            config.update(env=FAKE, num_episodes=number, num_envs=2)
            collect.run(config, folder)
        return load_episodes(folder / "episodes")

    whole, parts = collected(tmp_path / "whole", 6), collected(tmp_path / "parts", 2, 6)
    for ours, theirs in zip(whole, parts, strict=True):
        assert ours.metadata["factors"] == theirs.metadata["factors"]
        np.testing.assert_array_equal(ours.records["position"], theirs.records["position"])


def test_an_evaluation_plays_where_the_data_were_recorded_unless_another_variation_is_named():
    episodes = episodes_of(1)
    assert Arena.of_episodes(episodes).name == FAKE
    episodes[0].metadata["episode_length"] = 7
    other = Arena.of_episodes(episodes, "fake-pointmass?mass=2")
    assert other.name == "fake-pointmass?mass=2" and other.options["episode_length"] == 7


# In the simulators ----------------------------------------------------------------------------------------------------


def test_a_heavier_point_is_pushed_less_far():
    environment, plain = registry.make("fake-pointmass?mass=0.5"), registry.make("fake-pointmass")
    before, start = environment.reset(seed=1), plain.reset(seed=1)
    np.testing.assert_array_equal(before["position"], start["position"])
    mass = environment.metadata()["factors"]["mass"]
    np.testing.assert_allclose(
        environment.step(PUSH)["velocity"] * mass, plain.step(PUSH)["velocity"], rtol=1e-5
    )
    environment.reset()
    assert environment.metadata()["factors"]["mass"] != mass  # without a seed a stream goes on


def models_of(factor, seed=3, base="cartpole-balance"):
    varied, plain = registry.make(f"{base}?{factor}=0.3"), registry.make(base)
    for environment in (varied, plain):
        environment.reset(seed=seed)
    return varied, varied._model, plain._model


def test_mass_friction_and_length_scale_the_parts_of_a_body():
    environment, model, plain = models_of("mass")
    scale = environment.metadata()["factors"]["mass"]
    np.testing.assert_allclose(model.body_mass, scale * plain.body_mass)
    np.testing.assert_allclose(model.dof_M0, scale * plain.dof_M0)  # MuJoCo has derived the rest anew
    environment.reset(seed=4)
    environment.reset(seed=3)
    np.testing.assert_allclose(model.body_mass, scale * plain.body_mass)  # not once more

    environment, model, plain = models_of("friction")
    np.testing.assert_allclose(
        model.geom_friction, environment.metadata()["factors"]["friction"] * plain.geom_friction
    )

    environment, model, plain = models_of("length", base="pendulum-swingup")
    scale = environment.metadata()["factors"]["length"]
    np.testing.assert_allclose(model.body("pole").inertia, scale**2 * plain.body("pole").inertia)
    np.testing.assert_allclose(model.geom("mass").pos, scale * plain.geom("mass").pos)
    np.testing.assert_array_equal(model.geom("floor").size, plain.geom("floor").size)


def test_light_camera_and_colours_change_the_look_and_not_the_motion():
    environment, model, plain = models_of("light")
    scale = environment.metadata()["factors"]["light"]
    np.testing.assert_allclose(model.light_diffuse, scale * plain.light_diffuse, rtol=1e-6)
    environment, model, plain = models_of("camera")
    turned = np.linalg.norm(environment.metadata()["factors"]["camera"]["turned"])
    cosine = np.abs((model.cam_quat * plain.cam_quat).sum(axis=1))
    np.testing.assert_allclose(2 * np.arccos(cosine), turned, rtol=1e-4)
    assert np.abs(model.cam_mat0 - plain.cam_mat0).max() > 1e-3
    environment, model, plain = models_of("colours")
    assert np.abs(model.mat_rgba - plain.mat_rgba)[:, :3].max() > 0.01
    np.testing.assert_array_equal(model.mat_rgba[:, 3], plain.mat_rgba[:, 3])


def sky_of(model, texture):
    shape = [int(sizes[texture]) for sizes in (model.tex_height, model.tex_width, model.tex_nchannel)]
    return model.tex_data[model.tex_adr[texture] :][: np.prod(shape)].reshape(shape)


def test_a_sky_is_mixed_of_its_own_colours_and_cells_of_noise_that_move_with_the_steps():
    environment, model, plain = models_of("background")
    texture = environment._variation.draw_background(7)
    built, drawn = sky_of(plain, texture), sky_of(model, texture)
    cells = [-(-size // 32) for size in built.shape[:2]]
    seed = environment.metadata()["factors"]["background"]
    noise = np.roll(np.random.default_rng(seed).integers(0, 256, (*cells, 3)), 7, axis=1)
    noise = noise.repeat(32, axis=0).repeat(32, axis=1)[: built.shape[0], : built.shape[1]]
    np.testing.assert_array_equal(drawn, np.uint8((1.0 - 0.3) * built + 0.3 * noise))


def test_meta_world_varies_and_ends_where_it_began():
    environment = registry.make("metaworld-reach?mass=0.3&friction=0.3&camera=0.1")
    plain = registry.make("metaworld-reach")
    start, expected = environment.reset(seed=2)["state"], plain.reset(seed=2)["state"]
    np.testing.assert_allclose(start[-3:], expected[-3:])  # the same goal
    scale = environment.metadata()["factors"]["mass"]
    np.testing.assert_allclose(environment._model.body_mass, scale * plain._model.body_mass)
    state = environment.physics_state()
    action = np.array([0.5, 0.5, 0.1, 0.0], np.float32)
    first = environment.step(action)["state"]
    environment.set_physics_state(state)
    np.testing.assert_array_equal(environment.step(action)["state"], first)
    environment.reset_to(state[:6])  # who chooses a start stays in the same body
    assert environment.metadata()["factors"]["mass"] == scale
    with pytest.raises(ValueError, match="Unknown factor 'length' of 'metaworld-reach'"):
        registry.make("metaworld-reach?length=0.1")


def test_the_background_moves_and_a_stored_state_looks_as_it_did(monkeypatch):
    backend = next((name for name in rendering.BACKENDS if rendering.probe(name) is None), None)
    if backend is None:
        pytest.skip("OpenGL does not work here")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv(rendering._PROBED, f":{backend}")
    monkeypatch.setenv("PYOPENGL_PLATFORM", backend)
    environment = registry.make("cartpole-balance?background=0.8&colours=0.5", render_size=32)
    first = environment.reset(seed=1)["image"]
    state = environment.physics_state()
    second = environment.step(np.zeros(1, np.float32))["image"]
    sky = slice(0, 6)  # rows above the cart
    assert np.abs(np.int32(first[sky]) - second[sky]).mean() > 2
    assert np.abs(np.int32(environment.reset(seed=2)["image"]) - first).mean() > 2
    environment.reset(seed=1)
    np.testing.assert_array_equal(rendering.render_states(environment, [state], 32, 32)[0], first)
