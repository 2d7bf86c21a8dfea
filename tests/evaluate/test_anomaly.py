"""The anomaly task on runs: which class is normal, both ways of scoring, and what is written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar import configio
from nearfar.config import EvalConfig
from nearfar.data.readers.mvtec import MVTec
from nearfar.errors import DataError
from nearfar.evaluate.anomaly import anomaly_task, normal_class, supervised_scores
from nearfar.evaluate.detection import image_auroc
from nearfar.evaluate.embeddings import Embeddings
from nearfar.train import fit
from nearfar.train.run import Run


def test_the_normal_class_is_named_or_the_most_frequent() -> None:
    labels = np.array([0, 1, 1, 2, -1])
    assert normal_class(("cut", "bent", "Good"), labels) == 2
    assert normal_class(("cut", "bent", "scratch"), labels) == 1
    assert normal_class(("good", "bent"), np.array([1, 1])) == 1  # no good image to learn from
    with pytest.raises(DataError, match="no labelled sample"):
        normal_class(("good",), np.array([-1, -1]))


def embeddings(train: list[int], test: list[int]) -> Embeddings:
    label = np.array(train + test)
    rng = np.random.default_rng(0)
    n = len(label)
    return Embeddings(
        z=(rng.normal(size=(n, 4)) + 3.0 * (label[:, None] > 0)).astype(np.float32),
        label=label,
        true_label=np.full(n, -1),
        split=np.array(["train"] * len(train) + ["test"] * len(test)),
        id=np.arange(n).astype(str),
        index=np.arange(n),
        classes=("good", "cut", "bent"),
    )


@pytest.mark.parametrize(("train", "source"), [([0] * 10 + [1, 2] * 5, "train"), ([0] * 20, "test, cross-validated")])
def test_supervised_scores_use_training_defects_or_cross_validation(train: list[int], source: str) -> None:
    score, truth, fitted = supervised_scores(embeddings(train, [0] * 12 + [1, 2] * 6), normal=0)
    assert fitted == source and truth.sum() == 12
    assert score is not None and image_auroc(score, truth) > 0.95


def test_too_few_defects_to_cross_validate_give_no_supervised_score() -> None:
    assert supervised_scores(embeddings([0] * 10, [0] * 10 + [1] * 4), normal=0)[0] is None


def test_the_task_scores_and_writes_what_the_report_reads(run: Run) -> None:
    measured = anomaly_task(run, EvalConfig(bootstrap=50))
    assert measured["normal"] == "good" and measured["supervised"]["fitted_on"] == "train"
    for name in ("image_auroc", "pixel_auroc", "aupro"):
        each = measured["one_class"][name]
        assert 0 <= each["low"] <= each["value"] <= each["high"] <= 1
    with np.load(run.arrays / "anomaly.npz", allow_pickle=False) as arrays:
        n = measured["images"]
        assert arrays["score"].shape == arrays["anomalous"].shape == arrays["id"].shape == (n,)
        assert (np.diff(arrays["score"]) <= 0).all()
        shown = min(n, 24)
        assert arrays["image"].shape == (shown, 16, 16, 3) and arrays["image"].dtype == np.uint8
        assert arrays["maps"].shape == arrays["mask"].shape == (shown, 16, 16)
        assert not arrays["mask"][~arrays["anomalous"][:shown]].any()
        np.testing.assert_allclose(arrays["maps"].max((1, 2)), arrays["score"][:shown], rtol=1e-6)


def test_a_test_split_of_one_kind_is_refused(run: Run) -> None:
    test = run.dataset("test")
    truth = np.where(test.true_labels >= 0, test.true_labels, test.labels)
    normal = test.subset(np.flatnonzero(truth == test.classes.index("good")))
    with pytest.raises(DataError, match="none is anomalous"):
        anomaly_task(run, EvalConfig(bootstrap=10), normal)


@pytest.fixture
def overrides() -> Callable[[Path], dict[str, object]]:
    return lambda root: {
        "data.root": root,
        "train.threads": 1,
        "train.batch_size": 8,
        "train.epochs": 1,
        "eval.bootstrap": 50,
    }


def test_a_trained_run_is_scored_by_its_patches(tmp_path: Path, overrides: Callable[[Path], dict[str, object]]) -> None:
    root = MVTec().write_example(tmp_path / "data", count=48, size=16)
    small = {"data.size": 16, "encoder.size": 16, "encoder.options": {"width": 8, "depth": 1}, "method.grid": 4}
    run = fit(
        configio.load("patches", None, {**overrides(root), **small, "data.splits": (0.9, 0.0, 0.1)}), tmp_path / "run"
    )
    measured = anomaly_task(run, EvalConfig(bootstrap=20))
    assert measured["one_class"]["normal_images"] == len(run.dataset("train"))
    assert 0 <= measured["one_class"]["aupro"]["value"] <= 1


@pytest.mark.slow
def test_real_defects_are_found_after_one_epoch(
    tmp_path: Path, shared_data: Path, overrides: Callable[[Path], dict[str, object]]
) -> None:
    """One epoch only: the figures of a whole training are printed by benchmarks/mvtec.py."""
    root = shared_data / "mvtec_transistor_128"
    short = {"data.splits": (0.9, 0.0, 0.1), "train.epochs": 1, "train.batch_size": 16, "train.lr": 1e-4}
    torch.manual_seed(0)
    run = fit(configio.load("patches", None, {**overrides(root), **short}), tmp_path / "run")
    found = anomaly_task(run, EvalConfig(bootstrap=100))
    assert found["images"] == 76 and found["one_class"]["normal_images"] == 213
    assert found["one_class"]["image_auroc"]["value"] > 0.78 and found["one_class"]["pixel_auroc"]["value"] > 0.88
    assert found["supervised"]["fitted_on"] == "test, cross-validated"
