"""Models on the Hugging Face Hub: there and back over a local endpoint, and a sentence where there is none."""

import json
import sys

import jax
import pytest
from fake_hub import fake_hub

import worldmodels
from experiments.__main__ import main
from worldmodels import export
from worldmodels.hub import HubError

pytest.importorskip("huggingface_hub")
ARGUMENTS = dict(
    sizes={"position": 2},
    inputs=["position"],
    targets=["position"],
    action_size=2,
    rssm=dict(deter_size=4, stoch_size=2, hidden_size=4),
    encoder=dict(name="mlp", hidden_size=4),
    decoder=dict(name="dmlp", hidden_size=4),
)
MODEL = "hf://user/model"
UNREACHABLE = "http://127.0.0.1:9"


def forget_library() -> dict:
    """Takes huggingface_hub out of the imported modules; returns its own."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("huggingface_hub")}


@pytest.fixture
def at(tmp_path, monkeypatch):
    """(endpoint) -> huggingface_hub reads its environment as in a new process, with a home of the test's own."""
    settings = dict(HF_HOME=str(tmp_path / "home"), HF_TOKEN="hf_test", HF_HUB_DISABLE_XET="1")
    kept = forget_library()

    def use(endpoint: str) -> None:
        for name, value in (settings | {"HF_ENDPOINT": endpoint}).items():
            monkeypatch.setenv(name, value)
        forget_library()

    yield use
    forget_library()
    sys.modules.update(kept)


def test_a_model_goes_to_the_hub_and_comes_back_also_without_a_network(tmp_path, at, capsys):
    model = export.build_world_model(ARGUMENTS, jax.random.key(0))
    kept = export.Models({"world_model": ARGUMENTS}, model, card=dict(data="noise"))
    folder = export.save(tmp_path / "model", kept)
    (folder / "code.py").write_text("raise SystemExit('code of a repository runs')")
    with fake_hub() as (endpoint, repositories):
        at(endpoint)
        assert main(["export", f"--run={folder}", f"--to={MODEL}", "--config.license=mit"]) == 0, (
            capsys.readouterr().err
        )
        files = repositories["user/model"]
        assert sorted(files) == ["README.md", "model.json", "weights.safetensors"]
        assert (
            b"license: mit" in files["README.md"]
            and json.loads(files["model.json"])["card"]["data"] == "noise"
        )
        files["code.py"] = b"never fetched"
        assert repr(worldmodels.load(MODEL).world_model) == repr(model)
    # The endpoint is gone; what was downloaded is there.
    at(endpoint)
    assert repr(worldmodels.load(MODEL).world_model) == repr(model)
    assert not list((tmp_path / "home").rglob("code.py"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (MODEL, "hf://user/model cannot be reached"),
        ("hf://user/a/b/c", "no name of the form hf://USER/NAME"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(at, name, sentence):
    at(UNREACHABLE)
    with pytest.raises(HubError) as failed:
        worldmodels.load(name)
    assert sentence in str(failed.value) and "\n" not in str(failed.value)


def test_a_model_that_is_not_there_is_one_sentence(at):
    with fake_hub() as (endpoint, _), pytest.raises(HubError) as failed:
        at(endpoint)
        worldmodels.load(MODEL)
    assert "hf://user/model does not exist" in str(failed.value) and "\n" not in str(failed.value)
