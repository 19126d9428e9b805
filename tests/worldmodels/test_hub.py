"""Models on the Hugging Face Hub: there and back over a local endpoint, and a sentence where there is none."""

import json
import os
import subprocess
import sys

import jax
import pytest
from fake_hub import fake_hub

from worldmodels import export

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
OPEN = "import worldmodels; print(worldmodels.load('hf://user/model').world_model)"


def run(home, endpoint: str, *command: str) -> subprocess.CompletedProcess:
    """Runs Python in a process of its own: huggingface_hub reads its environment when it is imported."""
    settings = dict(HF_ENDPOINT=endpoint, HF_HOME=str(home), HF_TOKEN="hf_test", HF_HUB_DISABLE_XET="1")
    environment = os.environ | settings | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_model_goes_to_the_hub_and_comes_back_also_without_a_network(tmp_path):
    model = export.build_world_model(ARGUMENTS, jax.random.key(0))
    kept = export.Models({"world_model": ARGUMENTS}, model, card=dict(data="noise"))
    folder = export.save(tmp_path / "model", kept)
    (folder / "code.py").write_text("raise SystemExit('code of a repository runs')")
    command = (
        "-m",
        "experiments",
        "export",
        f"--run={folder}",
        "--to=hf://user/model",
        "--config.license=mit",
    )
    with fake_hub() as (endpoint, repositories):
        sent = run(tmp_path / "home", endpoint, *command)
        assert sent.returncode == 0, sent.stderr
        files = repositories["user/model"]
        assert sorted(files) == ["README.md", "model.json", "weights.safetensors"]
        assert (
            b"license: mit" in files["README.md"]
            and json.loads(files["model.json"])["card"]["data"] == "noise"
        )
        files["code.py"] = b"never fetched"
        assert repr(model) in run(tmp_path / "home", endpoint, "-c", OPEN).stdout
    # The endpoint is gone; what was downloaded is there.
    assert repr(model) in run(tmp_path / "home", endpoint, "-c", OPEN).stdout
    assert not list((tmp_path / "home").rglob("code.py"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hf://user/model", "hf://user/model cannot be reached"),
        ("hf://user/a/b/c", "no name of the form hf://USER/NAME"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(tmp_path, name, sentence):
    failed = run(tmp_path, "http://127.0.0.1:9", "-c", f"import worldmodels; worldmodels.load({name!r})")
    assert sentence in failed.stderr.splitlines()[-1], failed.stderr


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    with fake_hub() as (endpoint, _):
        failed = run(tmp_path, endpoint, "-c", OPEN)
    assert "hf://user/model does not exist" in failed.stderr.splitlines()[-1], failed.stderr
