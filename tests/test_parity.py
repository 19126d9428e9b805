"""Numerical parity with the published PyTorch implementation, key by key, over a directory of recorded cases.

Another directory: `pytest tests/test_parity.py --golden-dir=DIR`.
"""

import functools

import numpy as np
import parity

VALUE_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
# Of the greatest gradient norm of a case. A bias before an instance norm has no gradient: both sides round zero.
GRADIENT_ROUNDING = 1e-6


@functools.cache
def our_outputs(folder):
    """Everything that we compute for a case."""
    case = parity.load_case(folder)
    outputs = parity.train_outputs(case) | parity.filter_outputs(case)
    for prefix in parity.AIME_VARIANTS:
        if any(key.startswith(f"{prefix}/") for key in case.expected):
            outputs |= parity.aime_outputs(case, prefix)
    if any(key.startswith("imagine/") for key in case.expected):
        outputs |= parity.imagine_outputs(case)
    return outputs


def relative_error(expected: np.ndarray, ours: np.ndarray) -> float:
    """Largest deviation relative to the largest magnitude."""
    return float(
        np.max(np.abs(expected - ours), initial=0.0) / (np.max(np.abs(expected), initial=0.0) + 1e-8)
    )


def rounding_of(key: str, expected: dict) -> float:
    """Below this, gradient norms of the same loss as `key` are rounding."""
    loss = key.partition("grad_norm")[0]
    norms = [float(v) for k, v in expected.items() if "grad_norm" in k and k.startswith(loss)]
    return GRADIENT_ROUNDING * max(norms, default=0.0)


def test_every_recorded_key_agrees(golden_case):
    outputs = our_outputs(golden_case)
    expected = dict(np.load(golden_case / "expected.npz"))
    failures, uncovered = [], []
    for key, value in expected.items():
        value = parity.recorded(key, value)
        if key not in outputs:
            uncovered.append(key)
            continue
        ours = np.asarray(outputs[key])
        tolerance = GRADIENT_TOLERANCE if "grad_norm" in key else VALUE_TOLERANCE
        if "grad_norm" in key and max(value, ours) < rounding_of(key, expected):
            continue
        if value.shape != ours.shape:
            failures.append(f"{key}: shape {ours.shape}, recorded {value.shape}")
        elif relative_error(value, ours) > tolerance:
            failures.append(f"{key}: relative error {relative_error(value, ours):.2e}")
    assert not failures, "\n".join(failures)
    assert not uncovered, f"recorded keys that nothing computes: {uncovered}"
