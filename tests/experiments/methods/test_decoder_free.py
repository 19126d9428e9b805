"""World models without decoders of their sensors run through the mains that train, look at and use a world model."""

import json

import numpy as np
import pytest
from imitation_data import config_of, write_data

from experiments.analysis import evaluate, export, inspect_run
from experiments.configs import evaluate as evaluate_config
from experiments.configs import export as export_config
from experiments.configs import imitate as imitate_config
from experiments.configs import inspect_run as inspect_config
from experiments.configs import online as online_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import imitate, online, pretrain
from experiments.models import files
from worldmodels.export import load
from worldmodels.representation import SIGReg


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), render_size=8)


def pretrained(data, folder, name, preset="tiny", size=0, **changes):
    config = config_of(pretrain_config, preset, embodiment=str(data / "embodiment"), **changes)
    config.world_model.representation.name = name
    config.world_model.representation.sigreg.num_projections = 8
    config.world_model.temporal_distance.size = size
    pretrain.run(config, folder)
    return folder


def test_it_imitates_from_vectors_and_the_report_is_the_evidence(data, tmp_path):
    model = pretrained(data, tmp_path / "model", "barlow")
    config = config_of(imitate_config, model=str(model), demonstrations=str(data / "observations"))
    assert np.isfinite(imitate.run(config, tmp_path / "policy")["return_mean"])
    rows = [json.loads(line) for line in (tmp_path / "policy" / "metrics.jsonl").read_text().splitlines()]
    assert any("train/policy/emb_rec_term" in row for row in rows)
    result = inspect_run.run(config_of(inspect_config), "", run=str(tmp_path / "policy"))
    assert result["figures"] == ["evidence"] and result["open_loop_mse"] == {}
    assert "predicts no sensors that could be drawn" in result["why_not"]


def test_it_learns_online_and_is_exported(data, tmp_path):
    model = pretrained(data, tmp_path / "model", "sigreg")
    changes = dict(demonstrations=str(data / "demonstrations"), embodiment=str(data / "embodiment"))
    config = config_of(online_config, model=str(model), reward__name="ail", policy_pretraining=0, **changes)
    assert np.isfinite(online.run(config, tmp_path / "online")["return_mean"])
    run = str(tmp_path / "online")
    export.run(export_config.get_config(), "", run=run, to=str(tmp_path / "exported"))
    exported = load(tmp_path / "exported").world_model
    assert isinstance(exported.representation, SIGReg) and exported.targets == ("ail_reward",)
    config = config_of(evaluate_config, planner="tracking", demonstrations=changes["demonstrations"])
    with pytest.raises(ValueError, match="Tracking needs a world model that predicts what it reads"):
        evaluate.run(config, "", run=run)


def test_it_is_tracked_by_the_steps_that_lead_to_a_frame(data, tmp_path):
    """What is counted needs no decoder, is learnt with the model, and is exported with it."""
    model = pretrained(data, tmp_path / "model", "sigreg", size=4)
    config = config_of(evaluate_config, planner="tracking", demonstrations=str(data / "observations"))
    config.options = dict(config.options, cost="temporal", distance="transport")
    played = evaluate.run(config, tmp_path / "tracking", run=str(model))
    export.run(export_config.get_config(), "", run=str(model), to=str(tmp_path / "exported"))
    again = evaluate.run(config, tmp_path / "of-export", run=str(tmp_path / "exported"))
    np.testing.assert_allclose(again["return"], played["return"][:1], rtol=1e-5)


def test_from_images_probes_tell_what_the_state_knows_and_no_image_is_drawn(data, tmp_path):
    model = pretrained(data, tmp_path / "model", "infonce", "visual-tiny")
    arch = files.load(model).arguments["world_model"]
    assert (arch["targets"], arch["probes"]) == ([], ["position", "velocity"])
    numbers = json.loads((model / "inspection.json").read_text())
    assert set(numbers["open_loop_mse"]) == {"position", "velocity"}
    assert set(numbers["log_prob_per_record"]) == {"emb"} and numbers["videos"] == []
    assert (model / "figures" / "evidence.png").stat().st_size > 0
