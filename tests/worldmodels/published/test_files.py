"""Files of published folders: damaged ones are refused in a sentence."""

import numpy as np
import pytest
from published_folders import S, config, version_1_rssm, write

from worldmodels.published import files, folder

torch = pytest.importorskip("torch")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    broken = {"prior_mean.net.4.bias": torch.full((S,), torch.nan)}
    with pytest.raises(ValueError, match="not finite, in prior_mean.net.4.bias"):
        folder.load(write(tmp_path, config("rssm"), version_1_rssm(), **broken))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    write(tmp_path, config("rssm"), version_1_rssm())
    torch.save({"weight": print}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged or asks for more than tensors; nothing of it was") as error:
        folder.load(tmp_path)
    assert "trust the source" not in str(error.value), "PyTorch's advice is to open it unsafely"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\x00\x81", "config.yaml is not YAML"),
        (b"world_model: &a {x: *a}\nenv: {}", "config.yaml: world_model.x refers to itself"),
    ],
)
def test_a_damaged_configuration_is_one_sentence(tmp_path, content, reason):
    write(tmp_path, config("rssm"), version_1_rssm())
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        folder.load(tmp_path)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, "model.pt holds no {name: tensor}"),
        ([1], "model.pt holds no {name: tensor}"),
        ({1: torch.zeros(2)}, r"model.pt holds 1 \(Tensor\) where names and tensors should be"),
        ({"state_dict": {}}, r"holds 'state_dict' \(dict\) .*save the state dict itself"),
        (
            {"x": torch.zeros(1).expand(10**7, 10**6)},
            "model.pt: x is complex, sparse or larger than the file",
        ),
    ],
)
def test_what_is_no_state_dict_is_one_sentence(tmp_path, state, reason):
    write(tmp_path, config("rssm"), version_1_rssm())
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=reason):
        folder.load(tmp_path)


def test_a_list_of_heads_of_version_1_is_one_ensemble():
    tensors = {f"emb_prediction_heads.{k}.net.0.weight": np.full((2, 3), k) for k in range(3)}
    stacked = files.stack_ensemble(tensors | {"other": np.zeros(1)})
    assert set(stacked) == {"other", "emb_prediction_heads.net.0.weight"}
    np.testing.assert_array_equal(stacked["emb_prediction_heads.net.0.weight"][:, 0, 0], [0, 1, 2])
