"""The rule that is fitted on validation images and applied as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.config import EvalConfig
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.decision import FILE, Decision, fit_decision, load_decision

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 400)
LOGITS = 3 * (LABELS - 0.5) + 2 * RNG.normal(size=400)
PATIENTS = np.arange(400) // 2


def fitted(**settings: Any) -> Decision:
    return fit_decision(LOGITS, LABELS, PATIENTS, EvalConfig(**settings))


def test_a_decision_survives_its_file(tmp_path: Path) -> None:
    for kind in ("temperature", "platt", "isotonic", "none"):
        made = fitted(calibration=kind, abstain=0.1)
        made.save(tmp_path)
        read = load_decision(tmp_path)
        assert read is not None and read.state() == made.state()
        np.testing.assert_array_equal(read.decide(LOGITS), made.decide(LOGITS))
        np.testing.assert_array_equal(read.probabilities(LOGITS), made.probabilities(LOGITS))
    assert json.loads((tmp_path / FILE).read_text())["fitted"] == {
        "samples": 400, "patients": 200, "prevalence": LABELS.mean()
    }  # fmt: skip


def test_targets_are_reached_on_the_validation_images() -> None:
    calls = fitted(operating="sensitivity", operating_target=0.95).decide(LOGITS)
    assert (calls[LABELS == 1] == 1).mean() >= 0.95
    calls = fitted(operating="specificity", operating_target=0.95).decide(LOGITS)
    assert (calls[LABELS == 0] == 0).mean() >= 0.95
    assert fitted(operating="cost", operating_target=10).point.threshold > fitted(operating="cost").point.threshold


def test_the_band_leaves_its_share_to_a_person() -> None:
    calls = fitted(abstain=0.2).decide(LOGITS)
    assert (calls == -1).mean() == pytest.approx(0.2, abs=0.01)
    assert "left to a person between" in fitted(abstain=0.2).rule and "400 validation images" in fitted().rule


def test_without_a_file_there_is_no_decision_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert load_decision(tmp_path) is None
    for text in ("{", '{"operating": {}}', '{"operating": {"threshold": 1, "rule": ""}, "calibrator": {"kind": "x"}}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(DataError, match="decision file"):
            load_decision(tmp_path)


def test_an_unknown_rule_and_one_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean youden"):
        fitted(operating="youdens")
    with pytest.raises(DataError, match="no sample is labelled 0"):
        fit_decision(LOGITS, np.ones(400, int), PATIENTS, EvalConfig())
