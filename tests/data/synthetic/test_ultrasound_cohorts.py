"""The ultrasound world's patients: which factors pass how often, and what whoever sees some of them can tell."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nearfar.data.synthetic import ultrasound_cohorts
from nearfar.data.synthetic.ultrasound import bayes_ceiling
from nearfar.data.synthetic.ultrasound_cohorts import COHORTS, INTERNAL, MODALITIES, draw_patient
from nearfar.data.synthetic.ultrasound_defects import IMAGE_DEFECTS, LAYOUT_DEFECTS
from nearfar.errors import ConfigError


@pytest.fixture(scope="module")
def patients() -> list[ultrasound_cohorts.Patient]:
    return [draw_patient(INTERNAL, number, 8) for number in range(6000)]


def test_factors_pass_as_often_as_said_and_independently(patients: list[ultrasound_cohorts.Patient]) -> None:
    table = np.array([(f.image is None, f.layout is None, f.text is None) for p in patients for f in p.frames])
    assert np.allclose(table.mean(0), 0.8, atol=0.012)
    assert np.abs(np.corrcoef(table.T) - np.eye(3)).max() < 0.025
    assert table.all(1).mean() == pytest.approx(0.512, abs=0.015)


def test_frames_of_a_patient_fail_together(patients: list[ultrasound_cohorts.Patient]) -> None:
    for factor in ("image", "layout", "text"):
        pairs = np.array([[getattr(p.frames[i], factor) is None for i in (0, 1)] for p in patients])
        assert 0.18 < np.corrcoef(pairs.T)[0, 1] < 0.48


def test_later_patients_are_more_often_standard() -> None:
    later = next(cohort for cohort in COHORTS if cohort.name == "prospective")
    frames = [f for number in range(2000) for f in draw_patient(later, number, 0).frames]
    assert np.mean([f.standard for f in frames]) == pytest.approx(later.passing**3, abs=0.025)
    assert later.passing**3 > 0.65


def test_text_fails_wherever_the_age_is_outside_the_window(patients: list[ultrasound_cohorts.Patient]) -> None:
    outside = [p for p in patients if not 77 <= p.age <= 97]
    assert len(outside) / len(patients) == pytest.approx(0.05, abs=0.01)
    assert all(f.text == "age" for p in outside for f in p.frames)
    assert not any(f.text == "age" for p in patients if p not in outside for f in p.frames)
    assert {p.age // 7 for p in outside} == {10, 14}


def test_defects_of_every_kind_in_every_view(patients: list[ultrasound_cohorts.Patient]) -> None:
    frames = [f for p in patients for f in p.frames]
    images = Counter(f.image.kind for f in frames if f.image)
    assert set(images) == set(IMAGE_DEFECTS) and max(images.values()) < 1.4 * min(images.values())
    layouts = {(f.view, f.layout.kind) for f in frames if f.layout}
    assert layouts == {(view, kind) for view, kinds in LAYOUT_DEFECTS.items() for kind in kinds}
    severities = np.array([f.image.severity for f in frames if f.image])
    assert np.histogram(severities, 4, (0, 1))[0].min() > 0.15 * len(severities)


@pytest.mark.parametrize(("seen", "accuracy", "auc"), [(1, 0.712, 0.705), (2, 0.872, 0.869), (3, 1.0, 1.0)])
def test_ceilings_are_the_published_ones(seen: int, accuracy: float, auc: float) -> None:
    for first in range(3):
        modalities = [MODALITIES[(first + i) % 3] for i in range(seen)]
        ceiling = bayes_ceiling(modalities)
        assert ceiling.accuracy == pytest.approx(accuracy, abs=1e-9)
        assert ceiling.roc_auc == pytest.approx(auc, abs=5e-4)
        assert ceiling.prevalence == pytest.approx(0.512)


@pytest.mark.parametrize("noise", [0.0, 0.15])
@pytest.mark.parametrize("passing", [0.8, 0.88])
def test_ceilings_are_what_a_simulation_gives(passing: float, noise: float) -> None:
    rng = np.random.default_rng(0)
    factors = rng.random((200_000, 3)) < passing
    label = factors.all(1) != (rng.random(len(factors)) < noise)
    for seen in (1, 2, 3):
        passes = factors[:, :seen].all(1)
        best = [max(label[passes == v].mean(), 1 - label[passes == v].mean()) for v in (False, True)]
        accuracy = np.where(passes, best[1], best[0]).mean()
        ceiling = bayes_ceiling(MODALITIES[:seen], passing=passing, label_noise=noise)
        assert ceiling.accuracy == pytest.approx(accuracy, abs=0.005)
        assert ceiling.roc_auc == pytest.approx(roc_auc_score(label, passes), abs=0.005)
        assert ceiling.prevalence == pytest.approx(label.mean(), abs=0.005)


def test_nobody_who_sees_nothing_can_tell() -> None:
    assert bayes_ceiling(()).roc_auc == 0.5
    with pytest.raises(ConfigError, match=r"'boxs'.*Did you mean 'boxes'"):
        bayes_ceiling(("image", "boxs"))


# ---- who sees what
