import contextlib
import json
import threading
import typing
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import nnx

from worldmodels import checkpoints as module
from worldmodels.checkpoints import CheckpointError, Checkpoints, named_leaves


class Pair(typing.NamedTuple):
    left: jax.Array
    right: jax.Array


class Net(nnx.Module):
    def __init__(self, rngs, size=4):
        self.layers = nnx.List([nnx.Linear(3, size, rngs=rngs)])
        self.heads = nnx.Dict({"x.y": nnx.Linear(size, 2, rngs=rngs)})


def make_state(seed=0, size=4):
    net = Net(nnx.Rngs(seed), size)
    return {
        "model": net,
        "opt_state": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(net),
        "pair": Pair(jnp.full((2, 2), seed, jnp.bfloat16), jnp.zeros((0, 3))),
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), 3),
        "step": jnp.int32(seed),
        "count": seed,
        "rate": 0.1 + seed,
        "flag": bool(seed),
        "host": np.arange(3.0) + seed,
        "nothing": None,
    }


def assert_same(left, right):
    left, right = named_leaves(left), named_leaves(right)
    assert list(left) == list(right)
    for name in left:
        assert type(left[name]) is type(right[name]), name
        if jax.dtypes.issubdtype(getattr(left[name], "dtype", np.float32), jax.dtypes.prng_key):
            assert jax.random.key_impl(left[name]) == jax.random.key_impl(right[name])
            left[name], right[name] = map(jax.random.key_data, (left[name], right[name]))
        assert np.asarray(left[name]).dtype == np.asarray(right[name]).dtype, name
        np.testing.assert_array_equal(np.asarray(left[name]), np.asarray(right[name]), err_msg=name)


def test_any_state_comes_back_bit_identical(tmp_path):
    saved = make_state(seed=1)
    Checkpoints(tmp_path / "c").save(7, saved, {"episodes": [1, 2]})
    step, restored, extra = Checkpoints(tmp_path / "c").restore(make_state(seed=0))
    assert (step, extra) == (7, {"episodes": [1, 2]})
    assert_same(saved, restored)


def test_a_state_that_is_one_array_comes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, jnp.arange(3))
    np.testing.assert_array_equal(checkpoints.restore(jnp.zeros(3, int))[1], [0, 1, 2])


def test_nothing_saved_restores_nothing(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(make_state()) is None
    assert not (tmp_path / "none").exists()


def test_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 5, 10):
        checkpoints.save(step, {"x": jnp.float32(step)})
    assert checkpoints.steps() == [5, 10]
    assert checkpoints.restore({"x": jnp.float32(0)})[1]["x"] == 10
    assert checkpoints.restore({"x": jnp.float32(0)}, step=5)[1]["x"] == 5


def test_going_back_discards_what_came_after(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 5, 10):
        checkpoints.save(step, {"x": jnp.float32(step)})
    checkpoints.save(5, {"x": jnp.float32(-5)})
    assert checkpoints.steps() == [1, 5]
    assert checkpoints.restore({"x": jnp.float32(0)})[1]["x"] == -5


def test_a_save_cut_short_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.float32(1)})

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "sync", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(2, {"x": jnp.float32(2)})
    assert checkpoints.restore({"x": jnp.float32(0)})[:2] == (1, {"x": 1.0})
    checkpoints.save(3, {"x": jnp.float32(3)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000001", "0000000003"]


def data_file(path):
    """The largest file of a checkpoint: the arrays."""
    return max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def truncate(path):
    file = data_file(path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(path):
    file = data_file(path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def spoil_the_manifest(path):
    (path / "manifest.json").write_text('{"format": 1')


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, spoil_the_manifest])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    rng = np.random.default_rng(0)
    states = [{"x": rng.normal(size=(300, 100)).astype(np.float32)} for _ in range(2)]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, states[0])
    damage(checkpoints.save(2, states[1]))
    with pytest.warns(UserWarning, match="0000000002 is damaged .* trying the one before"):
        step, restored, _ = checkpoints.restore(states[0])
    assert step == 1
    assert_same(states[0], restored)


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    spoil_the_manifest(checkpoints.save(1, {"x": jnp.zeros(3)}))
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match="All checkpoints .* are damaged"):
        warnings.simplefilter("ignore")
        checkpoints.restore({"x": jnp.zeros(3)})


def mutations(tree):
    """Copies of a JSON object that lack one of its keys, or in which one is a number, a text or null."""
    for key, value in tree.items():
        yield {name: other for name, other in tree.items() if name != key}
        yield from (tree | {key: wrong} for wrong in (7, "seven", None) if wrong != value)
        if isinstance(value, dict):
            yield from (tree | {key: inner} for inner in mutations(value))


def test_a_manifest_of_which_anything_is_gone_or_wrong_is_a_sentence(tmp_path):
    state = {"x": jnp.arange(3.0), "key": jax.random.key(0)}
    path = Checkpoints(tmp_path).save(1, state)
    whole = json.loads((path / "manifest.json").read_text())
    for manifest in mutations(whole):
        (path / "manifest.json").write_text(json.dumps(manifest))
        with contextlib.suppress(CheckpointError):
            Checkpoints(tmp_path).read()
            Checkpoints(tmp_path).restore(state)
    for missing in ("kind", "dtype", "crc32", "shape"):
        leaf = {name: value for name, value in whole["leaves"]["x"].items() if name != missing}
        (path / "manifest.json").write_text(json.dumps(whole | {"leaves": whole["leaves"] | {"x": leaf}}))
        with pytest.raises(CheckpointError, match="0000000001 is damaged: manifest: "):
            Checkpoints(tmp_path).read()


def test_leaves_that_do_not_fit_are_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(
        1, {"same": jnp.zeros(2), "gone": jnp.zeros(1), "wide": jnp.zeros((2, 3)), "int": jnp.int32(0)}
    )
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore(
            {"same": jnp.zeros(2), "new": 1, "wide": jnp.zeros((2, 4)), "int": jnp.float32(0)}
        )
    assert "missing in the checkpoint: new" in str(error.value)
    assert "unexpected in the checkpoint: gone" in str(error.value)
    assert "wide (checkpoint float32[2, 3], state float32[2, 4])" in str(error.value)
    assert "int (checkpoint int32[], state float32[])" in str(error.value)


def test_a_model_of_another_size_is_refused_by_name(tmp_path):
    Checkpoints(tmp_path).save(1, make_state(size=4))
    with pytest.raises(CheckpointError, match=r"model/heads/x.y/kernel \(checkpoint float32\[4, 2\]"):
        Checkpoints(tmp_path).restore(make_state(size=5))


def test_shapes_alone_are_enough_to_restore(tmp_path):
    state = {"key": jax.random.key(3), "x": jnp.arange(4.0), "count": 5}
    Checkpoints(tmp_path).save(1, state)
    _, restored, _ = Checkpoints(tmp_path).restore(jax.eval_shape(lambda: state))
    np.testing.assert_array_equal(restored["x"], state["x"])
    assert restored["count"] == 5
    assert restored["key"] == state["key"]


def test_a_restored_state_can_be_donated(tmp_path):
    Checkpoints(tmp_path).save(1, {"x": jnp.arange(64.0)})
    _, state, _ = Checkpoints(tmp_path).restore({"x": jnp.zeros(64)})
    doubled = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x, s), donate_argnums=0)(state)
    np.testing.assert_array_equal(doubled["x"], 2 * np.arange(64.0))


def test_a_restored_state_does_not_recompile(tmp_path):
    state = make_state(seed=1)
    state = {name: state[name] for name in ("model", "opt_state", "key", "step")}
    function = jax.jit(lambda s: s["step"] + 1)
    function(state)
    Checkpoints(tmp_path).save(1, state)
    function(Checkpoints(tmp_path).restore(state)[1])
    assert function._cache_size() == 1


def test_read_gives_plain_arrays(tmp_path):
    Checkpoints(tmp_path).save(4, {"a": {"b": jnp.ones(2)}}, {"note": 1})
    step, arrays, extra = Checkpoints(tmp_path).read()
    assert (step, extra, list(arrays)) == (4, {"note": 1}, ["a/b"])
    with pytest.raises(CheckpointError, match="no checkpoint of step 3"):
        Checkpoints(tmp_path).read(3)


def test_a_leaf_that_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="leaf 'a/b' is a str"):
        Checkpoints(tmp_path).save(1, {"a": {"b": "text"}})


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="Cannot write checkpoint .*file.* Check free space"):
        Checkpoints(tmp_path / "file").save(1, {"x": jnp.zeros(1)})


def test_threads_that_write_on_after_an_error_leave_nothing(tmp_path, monkeypatch):
    """On a full disk those of Orbax do: they make the folders of their files as they come to them."""
    Checkpoints(tmp_path / "run").save(1, {"x": jnp.zeros(1)})
    gone, writers = threading.Event(), []

    def fail(self, path, item):
        def write_on():
            gone.wait()
            with contextlib.suppress(OSError):
                path.mkdir(parents=True)

        writers.append(threading.Thread(target=write_on))
        writers[0].start()
        raise OSError("No space left on device")

    monkeypatch.setattr(orbax.checkpoint.PyTreeCheckpointer, "save", fail)
    with pytest.raises(CheckpointError, match="Cannot write checkpoint .*: No space left on device"):
        Checkpoints(tmp_path / "run").save(2, {"x": jnp.zeros(1)})
    gone.set()
    writers[0].join()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["0000000001"]


async def save_and_restore(folder):
    Checkpoints(folder).save(1, {"x": jnp.ones(2)})
    return Checkpoints(folder).restore({"x": jnp.zeros(2)})


def test_it_works_inside_a_running_event_loop_as_in_a_notebook(tmp_path):
    import asyncio

    step, _, _ = asyncio.run(save_and_restore(tmp_path))
    assert step == 1
