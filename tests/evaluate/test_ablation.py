"""What each modality contributes, on evidence whose parts are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.ablation import exchanged, inference_ablation, permutation_importance
from nearfar.evaluate.roc import roc_auc

NAMES = ("image", "text", "boxes")


def fuse(embedded: Any, present: Any) -> Any:
    """The sum of what is there: image counts twice, boxes not at all."""
    parts = np.stack([embedded[name][:, 0] for name in NAMES], 1)
    return (parts * present * [2.0, 1.0, 0.0]).sum(1)


@pytest.fixture
def study() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(150), 2)
    labels = rng.integers(0, 2, 150)[patients]
    z = {name: (labels + rng.normal(0, 0.7, 300))[:, None] for name in NAMES}
    return {"embedded": z, "present": np.ones((300, 3), bool), "labels": labels, "patients": patients}


def test_ablation_is_the_auc_of_what_is_left(study: dict[str, Any]) -> None:
    labels = study["labels"]
    found = inference_ablation(fuse, study["embedded"], study["present"], labels, clusters=study["patients"])
    assert set(found) == {
        "image+text+boxes", "image+text", "image+boxes", "text+boxes", "image", "text", "boxes"
    }  # fmt: skip
    assert "drop" not in found["image+text+boxes"]
    assert found["image"]["auc"]["value"] == pytest.approx(roc_auc(labels, study["embedded"]["image"][:, 0]))
    full = found["image+text+boxes"]["auc"]["value"]
    assert found["text"]["drop"]["value"] == pytest.approx(full - found["text"]["auc"]["value"])
    assert found["image+text"]["drop"] == {"value": 0, "low": 0, "high": 0} and found["image+text"]["p"] == 1
    assert found["boxes"]["auc"]["value"] == 0.5 and found["boxes"]["p"] < 0.01


def test_importance_is_the_loss_by_permutation_and_zero_for_what_is_not_used(study: dict[str, Any]) -> None:
    found = permutation_importance(fuse, **study, repeats=5)
    assert found["boxes"]["drop"] == 0
    assert found["image"]["drop"] > 1.5 * found["text"]["drop"] > 0
    assert found == permutation_importance(fuse, **study, repeats=5)
    full = roc_auc(study["labels"], fuse(study["embedded"], study["present"]))
    assert found["image"]["auc"] + found["image"]["drop"] == pytest.approx(full)


def test_presence_moves_with_the_modality(study: dict[str, Any]) -> None:
    study["present"][:150, 1] = False
    seen = []

    def watch(embedded: Any, present: Any) -> Any:
        seen.append((embedded["text"][:, 0], present[:, 1]))
        return fuse(embedded, present)

    permutation_importance(watch, **study, repeats=1)
    ((values, there),) = [s for s in seen[1:] if not np.array_equal(s[1], study["present"][:, 1])]
    given = dict(zip(study["embedded"]["text"][:, 0].tolist(), study["present"][:, 1].tolist(), strict=True))
    assert [given[v] for v in values.tolist()] == there.tolist()


@pytest.mark.parametrize("patients", [[0, 0, 1, 1], [0, 1, 2, 2, 1, 3], list("aabbbccddd")])
def test_nobody_gets_a_frame_of_the_same_patient(patients: list[Any]) -> None:
    rng = np.random.default_rng(1)
    who = np.array(patients)
    orders = [exchanged(patients, rng) for _ in range(200)]
    for order in orders:
        assert sorted(order) == list(range(len(who))) and (who[order] != who).all()
    assert len({tuple(order.tolist()) for order in orders}) > 1


def test_a_patient_with_most_of_the_samples_cannot_be_exchanged() -> None:
    with pytest.raises(DataError, match="more than half"):
        exchanged(["a", "a", "b"], np.random.default_rng(0))
