"""What a page says of the parts of an online policy's gradient."""

import pytest
from matplotlib.figure import Figure

from experiments.analysis.balance import balance_figure, sentences

EVALUATION = {
    "analysis/evidence_grad_norm": 400.0,
    "analysis/value_grad_norm": 8.0,
    "analysis/entropy_grad_norm": 0.1,
    "analysis/imagined_return": 4.0,
    "analysis/realised_return": 1.0,
}


def rows(value_share: float) -> list[dict]:
    """Rows of rounds; the first ones, before the policy has settled, do not count."""
    early = {"env_step": 0, "train/policy/value_share": 0.5, "train/policy/clipped": 0.0}
    late = {"env_step": 10, "train/policy/value_share": value_share, "train/policy/clipped": 1.0}
    return [early, early, late, late]


@pytest.mark.parametrize(
    ("value_share", "drowned"),
    [(0.02, ["entropy", "value"]), (0.5, ["entropy"]), (0.99, ["entropy", "evidence"])],
)
def test_a_part_with_less_than_a_twentieth_of_the_step_is_said_to_be_drowned(value_share, drowned):
    text = " ".join(sentences(rows(value_share), [EVALUATION | {"env_step": 0}]))
    assert [part for part in ("entropy", "evidence", "value") if f"The {part} is drowned" in text] == sorted(
        drowned, key=("entropy", "evidence", "value").index
    )
    if value_share == 0.02:
        assert "The value is drowned: 2.0 % of the step." in text
    assert "100 % of the updates were clipped" in text
    assert "imagines a surrogate return of 4 and earns 1." in text


def test_members_and_missing_values_are_drawn_too():
    members = [row | {"train/policy/value_share": [0.1, None]} for row in rows(0.5)]
    assert "The value is" not in " ".join(sentences(members, []))
    assert isinstance(balance_figure(members, [EVALUATION | {"env_step": 0}]), Figure)
