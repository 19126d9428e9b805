"""Every config, with each of its presets."""

import dataclasses
import functools
import importlib
import inspect
import pathlib
import re

import pytest

import experiments.configs
from experiments.configs import _presets
from experiments.configs._defaults import parameters

FOLDER = pathlib.Path(experiments.configs.__file__).parent
CONFIGS = {
    path.stem: importlib.import_module(f"experiments.configs.{path.stem}")
    for path in FOLDER.glob("[a-z]*.py")
}

# Group of a config -> the signature that it is passed to.
POLICY, LOSS = "worldmodels.action_head:TanhGaussianHead", "worldmodels.losses:LossOptions"
CRITIC, IMAGINATION = "agents.imagination:value_networks", "agents.imagination:ImaginationOptions"
DECODER, AIME = "worldmodels.decoders:CNNDecoder", "aime.losses:AIMEOptions"
SIGNATURES = {
    "collect:sac sac": "agents.sac:SACSettings",
    "collect:sac rounds": "agents.sac_rounds:RoundSettings",
    "surrogate:gaifo sac": "agents.sac:SACSettings",
    "surrogate:gaifo rounds": "agents.sac_rounds:RoundSettings",
    "surrogate:gaifo discriminator": "agents.gaifo:GAIfOSettings",
    "surrogate:ot transport": "agents.ot:OTSettings",
    "surrogate:ot  transport": "agents.progress:Transport",
    "surrogate:temporal_ot transport": "agents.progress:TemporalOT",
    "surrogate:orca transport": "agents.progress:ORCA",
    "surrogate:ot schedule": "agents.discount_schedule:ScheduleSettings",
    "baseline:bc fit": "agents.fitting:FitSettings",
    "baseline:bc network": "agents.frame_stack:FrameStackNet",
    "baseline:bc network.image_encoder": "worldmodels.encoders:CNNEncoder",
    "baseline:clam latent": "agents.latent_action_model:latent_action_loss",
    "baseline:clam  latent": "agents.latent_action_model:LatentActionModel",
    "baseline:lapo latent.quantizer": "agents.latent_action_model:Quantizer",
    "baseline:bcv_lr features": "agents.prototypes:Prototypes",
    "baseline:bcv_lr video": "agents.fitting:FitSettings",
    "baseline:bcv_lr ": "agents.bcv_lr:alignment_loss",
    "baseline:pidm ": "agents.pidm:PredictivePolicy",
    "baseline:bc ": "agents.flow:FlowHead",
    "baseline:mbbc policy": POLICY,
    "baseline:smodice dice": "agents.dice:DiceSettings",
    "baseline:fb representation": "agents.forward_backward:ForwardBackwardSettings",
    "pretrain: latent_actions": "worldmodels.latent_actions:LatentActions",
    "pretrain: relevance": "worldmodels.data.relevance:weighted_windows",
    "pretrain: loss": LOSS,
    "pretrain: optimizer": "worldmodels.training:make_optimizer",
    "pretrain: world_model": "worldmodels.architecture:Heads",
    "pretrain:  world_model": "worldmodels.architecture:Curiosity",
    "pretrain:   world_model": "worldmodels.architecture:Architecture",
    "pretrain: world_model.rssm": "worldmodels.rssm:RSSM",
    "pretrain: world_model.encoder": "worldmodels.encoders:MLPEncoder",
    "pretrain: world_model.decoder": "worldmodels.decoders:FixedStdDecoder",
    "pretrain: world_model.binary": "worldmodels.decoders:VectorDecoder",
    "pretrain: world_model.idm": POLICY,
    "pretrain: world_model.representation.barlow": "worldmodels.representation:Barlow",
    "pretrain: world_model.representation.infonce": "worldmodels.representation:InfoNCE",
    "pretrain: world_model.representation.sigreg": "worldmodels.representation:SIGReg",
    "pretrain: world_model.image_encoder": "worldmodels.encoders:CNNEncoder",
    "pretrain: world_model.image_decoder": DECODER,
    "pretrain:dynamo dynamics": "agents.dynamo:DynaMo",
    "pretrain:dynamo loss": "agents.dynamo:dynamo_loss",
    "pretrain:inverse_dynamics dynamics": "agents.frame_stack:FrameStackNet",
    "pretrain:dynamo network.encoder": "worldmodels.encoders:MLPEncoder",
    "imitate: policy": POLICY,
    "imitate: loss": AIME,
    "online: reward.viper": "aime.rewards:Viper",
    "online: reward.ot": "aime.rewards:Matched",
    "online:  reward.ot": "agents.progress:Transport",
    "online: reward.temporal_ot": "agents.progress:TemporalOT",
    "online: reward.orca": "agents.progress:ORCA",
    "online: reward.ail": "aime.adversarial:Adversarial",
    "online: ": "aime.online:OnlineSettings",
    "online: imagination": IMAGINATION,
    "online: loss": AIME,
    "online: policy": POLICY,
    "online: critic": CRITIC,
    "dreamer: loss": LOSS,
    "dreamer: imagination": IMAGINATION,
    "dreamer: policy": POLICY,
    "dreamer: critic": CRITIC,
}


@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name, module in CONFIGS.items() for preset in module.PRESETS]
)
def test_a_preset_is_a_locked_config(name, preset):
    config = CONFIGS[name].get_config(preset)
    assert config.is_locked
    with pytest.raises(AttributeError):
        config.nonsense = 1


@pytest.mark.parametrize("name", CONFIGS)
def test_an_unknown_preset_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="^Unknown preset 'nonsense'. Known: ") as error:
        CONFIGS[name].get_config("nonsense")
    assert all(preset in str(error.value) for preset in CONFIGS[name].PRESETS)


@pytest.mark.parametrize("group", SIGNATURES)
def test_a_default_stands_once(group, monkeypatch):
    """A value that is that of the signature follows it."""
    config, section = (text.strip() for text in group.split(" ", 1))
    name, preset = config.split(":")

    def values() -> dict:
        keys = filter(None, section.split("."))
        return functools.reduce(getattr, keys, CONFIGS[name].get_config(preset)).to_dict()

    def moved(signature: str) -> dict:
        return {
            key: dataclasses.replace(known, default=another(known.default))
            for key, known in parameters(signature).items()
        }

    known, before = parameters(SIGNATURES[group]), values()
    same = [key for key in before if key in known and before[key] == known[key].default is not None]
    monkeypatch.setattr(_presets, "parameters", moved)
    assert [key for key in same if values()[key] == before[key]] == []


def another(value):
    """Another value of the same type, of those that configs have."""
    if isinstance(value, bool):
        return not value
    return value + type(value)(1) if isinstance(value, int | float | str) else value


@pytest.mark.parametrize("signature", sorted(set(SIGNATURES.values())))
def test_defaults_are_read_as_python_has_them(signature):
    module, _, name = signature.partition(":")
    part = getattr(importlib.import_module(module), name)
    found = (
        inspect.signature(part.__init__ if "__init__" in vars(part) else part)
        if isinstance(part, type)
        else None
    )
    found = (found or inspect.signature(part)).parameters
    for key, known in parameters(signature).items():
        assert found[key].default == known.default


def test_a_config_without_a_default_asks_for_a_preset():
    with pytest.raises(ValueError, match="A preset must be chosen, FILE:PRESET. Known: statistics, check, "):
        CONFIGS["dataset"].get_config()


@functools.cache
def words_of_the_code() -> set[str]:
    """Words below experiments/, but for the configs."""
    paths = (path for path in FOLDER.parent.rglob("*.py") if path.parent != FOLDER)
    return {word for path in paths for word in re.findall(r"\w+", path.read_text())}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_is_read_somewhere(name):
    known = words_of_the_code() | {f"{part}_optimizer" for part in ("model", "policy", "critic")}
    keys = {key for preset in CONFIGS[name].PRESETS for key in CONFIGS[name].get_config(preset)}
    assert keys <= known


def test_plan2explores_environments_are_aime_v2s_but_for_the_small_presets():
    """Those of Dreamer's experts are AIME v1's."""
    versions = {
        preset: CONFIGS["dreamer"].get_config(preset).reward_version for preset in ("", "p2e", "p2e-small")
    }
    assert versions == {"": "v1", "p2e": "v2", "p2e-small": "v1"}


@pytest.mark.parametrize(("name", "preset"), [("dreamer", "small"), ("online", "aime-nob")])
def test_dreamer_v3_is_a_suffix_that_changes_the_actor_critic_alone(name, preset):
    plain, changed = (CONFIGS[name].get_config(p).to_dict() for p in (preset, f"{preset}-v3"))
    assert changed["critic"] == plain["critic"] | {"name": "two_hot"}
    v3 = {"normalise_returns": True, "bootstrap": "critic", "slow_scale": 1.0}
    assert {key: changed["imagination"][key] for key in v3} == v3
    different = {key for key in plain if plain[key] != changed[key]}
    assert different <= {"critic", "imagination", "target_rate", "reward", "world_model"}


TABLE = (FOLDER.parents[1] / "docs" / "how-to" / "commands.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)$", TABLE, re.MULTILINE))


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() & ROWS.keys()))
def test_the_table_of_commands_names_every_preset_but_for_variants_of_size(name):
    variant = re.compile(r"(-?\b(visual-small|visual-tiny|small|tiny|v3|metaworld))+$")
    presets = {variant.sub("", preset) for preset in CONFIGS[name].PRESETS}
    assert ROWS[name].startswith(" as ") or {
        preset for preset in presets if f"`{preset}`" not in ROWS[name]
    } <= {""}
