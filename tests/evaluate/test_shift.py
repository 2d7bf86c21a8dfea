"""Two-sample tests: the statistic by definition, power where there is a shift, silence where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate import shift


def cohorts(seed: int, apart: float = 0.0, n: int = 80, m: int = 60, spread: float = 1.0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), apart + spread * rng.normal(size=(m, 4))


def frames(seed: int, patients: int, each: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings that are all but the patient's."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), each)
    return rng.normal(size=(patients, 4))[who] + 0.2 * rng.normal(size=(len(who), 4)), who


def test_mmd_is_its_definition() -> None:
    first, second = cohorts(0, 0.5, 7, 9)

    def mean(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        kernel = np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * 1.5**2))
        return float((kernel.sum() - len(a)) / (len(a) * (len(a) - 1)) if same else kernel.mean())

    expected = mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, False)
    found = shift.mmd(first, second, bandwidth=1.5, permutations=20)
    assert found.statistic == pytest.approx(expected, abs=1e-12)
    assert shift.mmd(second, first, bandwidth=1.5, permutations=20).statistic == pytest.approx(expected, abs=1e-12)


def test_the_median_distance_is_the_default_and_a_unit_of_length_does_not_matter() -> None:
    first, second = cohorts(1, 0.5)
    assert shift.mmd(1000 * first, 1000 * second, permutations=5).statistic == pytest.approx(
        shift.mmd(first, second, permutations=5).statistic, abs=1e-9
    )


def test_shifts_are_found_and_a_linear_classifier_sees_only_means() -> None:
    moved, wider = cohorts(2, 0.8), cohorts(2, 0.0, spread=2.5)
    assert shift.mmd(*moved).p < 0.01
    assert shift.mmd(*wider).p < 0.01
    found = shift.classifier_two_sample(*moved)
    assert found.p < 0.01
    assert 0.5 < found.low < found.statistic < found.high < 1
    assert shift.classifier_two_sample(*wider).p > 0.01


@pytest.mark.parametrize("test", [shift.mmd, shift.classifier_two_sample])
def test_the_same_population_raises_an_alarm_about_as_often_as_promised(test: object) -> None:
    options = {"permutations": 99} if test is shift.mmd else {}
    p = [test(*cohorts(100 + seed, n=40, m=30), **options).p for seed in range(100)]  # type: ignore[operator]
    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert 0.3 < np.mean(p) < 0.7


@pytest.mark.parametrize("test", [shift.mmd, shift.classifier_two_sample])
def test_patients_of_one_population_look_different_only_image_by_image(test: object) -> None:
    options = {"permutations": 99} if test is shift.mmd else {}
    honest, naive = [], []
    for seed in range(30):
        (first, a), (second, b) = frames(2 * seed, 14), frames(2 * seed + 1, 12)
        honest.append(test(first, second, clusters=(a, b), **options).p)  # type: ignore[operator]
        naive.append(test(first, second, **options).p)  # type: ignore[operator]
    assert np.mean(np.array(honest) <= 0.05) <= 0.2
    assert np.mean(np.array(naive) <= 0.05) >= 0.6


def test_large_cohorts_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "_LIMIT", 50)
    first, second = cohorts(3, 1.0, 400, 300)
    assert shift.mmd(first, second, permutations=99).p == pytest.approx(0.01)


def test_constant_embeddings_do_not_differ() -> None:
    found = shift.mmd(np.ones((5, 2)), np.ones((6, 2)), permutations=9)
    assert (found.statistic, found.p) == (pytest.approx(0), 1.0)
    assert shift.classifier_two_sample(np.ones((8, 2)), np.ones((9, 2))).statistic == 0.5


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_prevalences_there_and_back(fitted: float, now: float, p: list[float]) -> None:
    there = shift.adjust_prevalence(p, fitted, now)
    assert ((there >= 0) & (there <= 1)).all()
    np.testing.assert_allclose(shift.adjust_prevalence(there, now, fitted), p, atol=1e-9)
    np.testing.assert_allclose(shift.adjust_prevalence(p, fitted, fitted), p, atol=1e-12)


def test_the_prevalence_of_unlabelled_data_is_found_and_calibrates() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(20_000) < 0.15
    # Classes at -1 and 1 with unit variance: at prevalence 0.5 the log odds are 2x.
    p = expit(2 * (2 * labels - 1 + rng.normal(size=20_000)))
    assert shift.estimate_prevalence(p, 0.5) == pytest.approx(0.15, abs=0.01)
    adjusted = shift.adjust_prevalence(p, 0.5, 0.15)
    assert adjusted.mean() == pytest.approx(labels.mean(), abs=0.01)
    assert p.mean() > labels.mean() + 0.05


def test_bad_input_is_refused() -> None:
    first, second = cohorts(4)
    for test in (shift.mmd, shift.classifier_two_sample):
        with pytest.raises(ShapeError, match="same dimension"):
            test(first, second[:, :2])
        with pytest.raises(ShapeError, match="one cluster"):
            test(first, second, clusters=(np.arange(80), np.arange(3)))
        with pytest.raises(DataError, match="finite rows"):
            test(first, second * np.nan)
        with pytest.raises(DataError, match="finite rows"):
            test(first, second[:1])
    with pytest.raises(DataError, match="fewer than four"):
        shift.classifier_two_sample(first, second, clusters=(np.zeros(80), np.zeros(60)))
    for options in ({"permutations": 0}, {"bandwidth": 0.0}):
        with pytest.raises(ConfigError, match="permutation"):
            shift.mmd(first, second, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="prevalence"):
        shift.adjust_prevalence([0.2], 0.0, 0.5)
    with pytest.raises(DataError, match="no probabilities"):
        shift.estimate_prevalence([], 0.5)
