"""Average precision at k by hand and at its ends."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.retrieve import average_precision_at_k, retrieve_task
from nearfar.train.run import Run


def angles(*degrees: float) -> np.ndarray:
    rad = np.deg2rad(degrees)
    return np.stack([np.cos(rad), np.sin(rad)], axis=1)


def test_by_hand() -> None:
    """Ranking of labels for the query: 0 1 0 0; relevant 3, so AP@4 = (1 + 2/3 + 3/4) / 3 and AP@2 = 1 / 2."""
    keys, labels = angles(1, 2, 3, 4), [0, 1, 0, 0]
    assert average_precision_at_k(angles(0), [0], keys, labels, 4) == pytest.approx([(1 + 2 / 3 + 3 / 4) / 3])
    assert average_precision_at_k(angles(0), [0], keys, labels, 2) == pytest.approx([0.5])


def test_a_class_without_keys_has_none() -> None:
    ap = average_precision_at_k(angles(0, 0), [0, 5], angles(1, 2), [0, 0], 9)
    assert ap[0] == 1.0 and np.isnan(ap[1])


def test_bad_input_is_named() -> None:
    with pytest.raises(ShapeError, match="1 and 2 labels"):
        average_precision_at_k(angles(0, 1), [0], angles(1, 2), [0, 0], 1)
    with pytest.raises(DataError, match="NaN"):
        average_precision_at_k([[np.nan, 0]], [0], angles(1), [0], 1)


def test_of_a_run(run: Run) -> None:
    found = retrieve_task(run, run.config.eval)
    mean = found["mean_average_precision"]
    assert 0 < mean["low"] <= mean["value"] <= mean["high"] <= 1 and found["k"] == 5
