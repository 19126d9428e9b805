"""What a user adds is one file in a package of their own, named `my.module:Name` on the command line.

Every command runs as in a process of its own: what an earlier one has imported, the next one does not know.
"""

import json
import pathlib
import re
import sys

import pytest

from experiments.__main__ import main
from launch import sweep
from worldmodels import registry

HOW_TO = pathlib.Path(__file__).parent.parent / "docs" / "how-to"

NETWORKS = """
from flax import nnx
from worldmodels.decoders import FixedStdDecoder
from worldmodels.rssm import RSSM

class Twice(nnx.Module):
    def __init__(self, in_size, *, factor=2.0, rngs):
        self.out_size, self.factor = in_size, factor

    def __call__(self, x):
        return self.factor * x

class Decoder(FixedStdDecoder):
    pass

class Memory(RSSM):
    def __init__(self, embed_size, action_size, *, width=5, rngs):
        super().__init__(embed_size, action_size, deter_size=width, stoch_size=2, hidden_size=4, rngs=rngs)
"""
PLANNER = """
from agents.planners import cem

def short(reward, *, horizon=2):
    return cem(reward, horizon=horizon, num_iterations=1, num_candidates=8, num_elites=2)
"""


def page(name: str, beginning: str) -> str:
    """The code of a page that begins so."""
    blocks = re.findall(r"```python\n(.*?)```", (HOW_TO / f"{name}.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if block.startswith(beginning))
    return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's directory with their package `mine`."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine").mkdir()
    env = page("environment", "# my/module.py").replace("max_steps=200", "max_steps=20")
    code = dict(env=env.replace("my.module", "mine.env"), networks=NETWORKS, planner=PLANNER)
    code |= dict(reward=page("reward", "# my/module.py"), baseline=page("method", "# my/module.py"))
    code |= dict(policy=page("method", "# my/policy.py"), agent=page("method", "# my/agent.py"))
    for name, text in code.items():
        (folder / "mine" / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Runs commands in the user's directory; returns (exit code, output, errors)."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(registry, "_loaded", {})
        code = main(list(words))
        return code, *capsys.readouterr()

    yield run
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def result(run: str) -> dict:
    return json.loads(pathlib.Path(run, "DONE").read_text())


ENV = "--config.env=mine.env:make_env"
SHOWN = ("--config.demonstrations=data/episodes", ENV)
OPENED = "--import=mine.env:make_env"


@pytest.fixture
def data(call, folder):
    """Episodes of the user's environment, whose second sensor is a velocity."""
    if not (folder / "data").exists():
        assert call("collect", "--config=collect:uniform-tiny", ENV, "--workdir=data")[0] == 0


NETWORK = ("encoder.name=mine.networks:Twice", "encoder.factor=3", "decoder.name=mine.networks:Decoder")
NETWORK += ("dynamics.name=mine.networks:Memory", "dynamics.width=6")
NAMED = "--import=mine.networks:Decoder,mine.networks:Memory,mine.networks:Twice"


@pytest.fixture
def model(call, data, folder):
    """A world model of the user's encoder, decoder and dynamics."""
    if not (folder / "model").exists():
        options = (f"--config.world_model.{option}" for option in NETWORK)
        words = ("pretrain", "--config=pretrain:tiny", "--config.embodiment=data/episodes", ENV)
        assert call(*words, *options, "--workdir=model")[0] == 0


def test_an_environment_with_its_layout_of_sensors(call, model):
    facts = json.loads(pathlib.Path("model", "model", "model.json").read_text())
    assert facts["world_model"]["inputs"] == ["angle"]  # lpomdp: without the velocity
    code, _, errors = call(
        "pretrain", "--config=pretrain:tiny", "--config.embodiment=data/episodes", "--workdir=no"
    )
    assert code == 2 and f"{ENV}, or {OPENED}" in errors
    # The word of the command line counts for all that the command does: SAC's demonstrations are played by its run.
    assert (
        call("collect", "--config=collect:sac-tiny", ENV, "--config.agent_steps=60", "--workdir=sac")[0] == 0
    )
    assert len(list(pathlib.Path("sac", "demonstrations").glob("*"))) == 3


def test_networks_and_a_surrogate_reward_and_a_planner(call, model):
    words = ("online", "--config=online:tiny", "--config.model=model", *SHOWN, "--workdir=online")
    words += ("--config.policy_pretraining=0",)  # by the same loss as the updates that follow
    reward = ("--config.reward.name=mine.reward:Nearest", "--config.reward.options.scale=2")
    code, _, errors = call(*words, *reward)
    assert code == 2 and NAMED in errors  # all at once
    assert call(*words, *reward, NAMED)[0] == 0
    planner = ("--config.planner=mine.planner:short", "--config.planner_reward=nearest_reward")
    words = ("evaluate", "--run=online", "--config.episodes=1", *planner, OPENED)
    assert call(*words)[0] == 2 and call(*words, NAMED, "--config.options.horizon=3")[0] == 0
    words = ("rewards", "--config=rewards:tiny", "--config.run=online", "--config.episodes=data/episodes")
    assert "--import=mine.reward:Nearest" in call(*words, NAMED, "--workdir=rewards")[2]
    assert call(*words, NAMED, "--import=mine.reward:Nearest", "--workdir=rewards")[0] == 0


def test_a_baseline_with_a_policy_of_its_own_kind(call, data):
    words = ("baseline", "--config=baseline:mine.policy:GatedBC-tiny", *SHOWN, "--workdir=gated")
    assert call(*words)[0] == 0
    assert result("gated")["label"] == "Gated BC"
    for words in (
        ("evaluate", "--run=gated", "--config.episodes=1", OPENED),
        (
            "collect",
            "--config=collect:demonstrations-tiny",
            "--config.source=gated",
            "--workdir=shown",
            OPENED,
        ),
        ("export", "--run=gated", "--to=to"),
    ):
        assert "--import=mine.policy:GatedBC" in call(*words)[2]
        assert call(*words, "--import=mine.policy:GatedBC")[0] == 0
    assert call("export", "--run=to", "--to=copy", "--import=mine.policy:GatedBC")[0] == 0
    card = pathlib.Path("to", "README.md").read_text()
    assert 'registry.load("mine.policy:GatedBC")' in card
    registry.load("mine.policy:GatedBC")
    opening = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("THIS FOLDER", "to")
    exec(opening, names := {})
    assert names["policy"].gain.shape == ()


def test_an_agent_with_a_reward_and_a_baseline_are_compared(call, data):
    """With other methods that need no embodiment data, without a word on any."""
    words = ("compare", "--config=compare:tiny", *SHOWN, "--config.num_seeds=1", "--workdir=compared")
    assert "AIME needs embodiment data; pass --config.embodiment=DIR, or" in call(*words)[2]
    code, out, _ = call(*words, "--config.methods=bc,mine.baseline:HuberBC,mine.agent:NearestAgent")
    assert code == 0 and all(f"| {label} " in out for label in ("BC oracle", "Huber BC", "Nearest"))
    run = "compared/mine.agent.NearestAgent"
    assert call("evaluate", f"--run={run}", "--config.episodes=1", OPENED)[0] == 0


def test_an_agent_is_a_method_of_a_suite(call, capsys):
    words = ("run", "walker18:tiny", "method=mine.agent:NearestAgent", "--backend=print", "--root=sweep")
    assert sweep.main([*words, OPENED]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert (
        " surrogate --config=surrogate:mine.agent:NearestAgent-tiny " in command and f" {OPENED} " in command
    )
