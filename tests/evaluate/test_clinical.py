"""Task clinical on a small written study: what is fitted where, what is measured, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import configio
from nearfar.config import EvalConfig
from nearfar.data.dataset import TensorDataset
from nearfar.data.loader import collate
from nearfar.data.study import MODALITIES
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate import evaluate
from nearfar.evaluate.clinical import clinical_task
from nearfar.evaluate.cohorts import open_cohorts
from nearfar.evaluate.decision import load_decision
from nearfar.evaluate.diagnosis import box_changes, columns, diagnostic_method, fusing, score
from nearfar.evaluate.roc import roc_auc
from nearfar.train import checkpoint
from nearfar.train.run import Run

STUDY = {
    "data.size": 24, "encoder.name": "nano_cnn", "encoder.size": 24, "encoder.options": {"width": 8, "depth": 1},
}  # fmt: skip
FAST = EvalConfig(tasks=("clinical",), bootstrap=20, subgroup_minimum=5)


def rewritten(study: Path, folder: Path, name: str, change: Any) -> Path:
    """A copy of the study in which `change` was applied to every row of one file."""
    shutil.copytree(study, folder)
    path = folder / f"{name}.json"
    path.write_text(json.dumps([change(row) for row in json.loads(path.read_text())]))
    return folder


def flipped(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"class_label": {"standard": "non-standard", "non-standard": "standard"}[row["class_label"]]}


def on(run: Run, data: Path, folder: Path) -> Run:
    """The trained run as one of other data."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("decision.json", "arrays", "predictions.csv"))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(str(run.config.data.root), str(data)))
    return Run(folder)


@pytest.fixture(scope="module")
def found(measured_study: Run) -> dict[str, Any]:
    return measured_study.metrics["clinical"]


def test_every_cohort_beside_the_data_is_measured(found: dict[str, Any], measured_study: Run) -> None:
    assert list(found["cohorts"]) == ["val", "test", "prospective", "external_C1"]
    test = measured_study.dataset("test")
    assert found["cohorts"]["test"]["samples"] == len(test)
    assert found["cohorts"]["test"]["patients"] == len(set(test.groups))
    assert "drop" not in found["cohorts"]["test"] and found["cohorts"]["external_C1"]["drop"]["low"] < 1
    for cohort in found["cohorts"].values():
        assert np.sum(cohort["confusion"]["counts"]) == cohort["samples"]
        bins = cohort["calibration"]["calibrated"]["bins"]
        assert sum(b["count"] for b in bins) == cohort["samples"]
    json.dumps(found, allow_nan=False)


def test_the_numbers_agree_with_the_predictions(found: dict[str, Any], measured_study: Run) -> None:
    with (measured_study.path / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["cohort"] == "test"]
    assert set(rows[0]) == {
        "sample_id", "patient_id", "cohort", "p", "p_calibrated", "decision", "gate_image", "gate_text", "gate_boxes",
        "missing", "label",
    }  # fmt: skip
    labels = [int(row["label"] == "standard") for row in rows]
    auc = roc_auc(labels, [float(row["p"]) for row in rows])
    assert found["cohorts"]["test"]["auc"]["value"] == pytest.approx(auc)
    right = np.mean([row["decision"] == row["label"] for row in rows])
    assert found["cohorts"]["test"]["accuracy"]["value"] == pytest.approx(right)
    assert all(sum(float(row[f"gate_{m}"]) for m in MODALITIES) == pytest.approx(1, abs=1e-3) for row in rows)
    brier = np.mean([(float(row["p_calibrated"]) - label) ** 2 for row, label in zip(rows, labels, strict=True)])
    assert found["cohorts"]["test"]["calibration"]["calibrated"]["brier"]["value"] == pytest.approx(brier, abs=1e-5)


def test_labels_of_other_cohorts_change_no_threshold(study: Path, tmp_path: Path, measured_study: Run) -> None:
    other = rewritten(study, tmp_path / "other", "test", flipped)
    for name in ("prospective", "external_C1"):
        rows = json.loads((other / f"{name}.json").read_text())
        (other / f"{name}.json").write_text(json.dumps([flipped(row) for row in rows]))
    run = on(measured_study, other, tmp_path / "run")
    made = clinical_task(run, FAST)
    before, after = ((r.path / "decision.json").read_text() for r in (measured_study, run))
    assert before == after
    auc = measured_study.metrics["clinical"]["cohorts"]["test"]["auc"]["value"]
    assert made["cohorts"]["test"]["auc"]["value"] == pytest.approx(1 - auc)


def test_labels_of_the_validation_images_decide(study: Path, tmp_path: Path, measured_study: Run) -> None:
    run = on(measured_study, rewritten(study, tmp_path / "other", "val", flipped), tmp_path / "run")
    clinical_task(run, FAST)
    made = load_decision(run.path)
    assert made is not None and made.calibrator.parameters["temperature"] > 5  # turned round: it says nothing any more


def test_embeddings_put_together_anew_give_the_same_logits(measured_study: Run) -> None:
    method: Any = diagnostic_method(measured_study)
    test: Any = measured_study.dataset("test")
    scores = score(method, test, batch_size=5)
    fuse = fusing(method)
    np.testing.assert_allclose(fuse(scores.z, columns(scores.present, list(scores.z))), scores.logit, atol=1e-5)
    batch = collate([test[i] for i in range(len(test))])
    for dropped in (("text",), ("image", "boxes")):
        kept = scores.present & ~np.isin(MODALITIES, dropped)
        expected = method.predict(batch, drop=dropped)["logit"].numpy()
        np.testing.assert_allclose(fuse(scores.z, kept), expected, atol=1e-5)


def test_the_change_of_a_box_is_that_of_the_whole_model(measured_study: Run) -> None:
    method: Any = diagnostic_method(measured_study)
    test: Any = measured_study.dataset("test")
    batch = collate([test[i] for i in range(4)])
    change = box_changes(method, batch, score(method, test).where(np.arange(4)))
    assert (np.isfinite(change) == (batch["object_labels"].numpy() >= 0)).all()
    objects, labels = batch["objects"].clone(), batch["object_labels"].clone()
    objects[:, 0], labels[:, 0] = 0, -1
    without = method.predict({**batch, "objects": objects, "object_labels": labels})["logit"]
    np.testing.assert_allclose(change[:, 0], (method.predict(batch)["logit"] - without).numpy(), atol=1e-4)


def test_a_cohort_of_one_class_and_one_without_labels(study: Path, tmp_path: Path, measured_study: Run) -> None:
    def one_class(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"class_label": "standard"}

    other = rewritten(study, tmp_path / "other", "prospective", one_class)
    rows = json.loads((other / "external_C1.json").read_text())
    (other / "external_C1.json").write_text(json.dumps([row | {"class_label": None} for row in rows]))
    made = clinical_task(on(measured_study, other, tmp_path / "run"), FAST)
    single = made["cohorts"]["prospective"]
    assert single["prevalence"] == 1 and single["auc"] is None and single["auc_delong"] is None
    assert single["specificity"] is None and single["sensitivity"]["value"] == single["accuracy"]["value"]
    assert single["drop"] is None and "refitted" not in single["calibration"]
    unknown = made["cohorts"]["external_C1"]
    assert unknown["samples"] == 0 and unknown["unlabelled"] == 12 and "auc" not in unknown
    json.dumps(made, allow_nan=False)


def test_test_images_of_one_class(study: Path, tmp_path: Path, measured_study: Run) -> None:
    other = rewritten(study, tmp_path / "other", "test", lambda row: row | {"class_label": "standard"})
    made = clinical_task(on(measured_study, other, tmp_path / "run"), FAST)
    assert made["cohorts"]["test"]["auc"] is None and "ablation" not in made
    assert made["cohorts"]["prospective"]["auc"] is not None


def test_validation_images_of_one_class_are_refused(study: Path, tmp_path: Path, measured_study: Run) -> None:
    other = rewritten(study, tmp_path / "other", "val", lambda row: row | {"class_label": "standard"})
    run = on(measured_study, other, tmp_path / "run")
    with pytest.raises(DataError, match="validation images of both classes"):
        clinical_task(run, FAST)
    assert not (run.path / "decision.json").exists()


def test_cohorts_by_name_and_what_is_wrong_with_them(study: Path, tmp_path: Path, measured_study: Run) -> None:
    run = measured_study
    named = EvalConfig(cohorts=(study / "external_C1.json",))
    assert list(open_cohorts(run, named).parts) == ["val", "test", "external_C1"]
    with pytest.raises(DataError, match="no such cohort"):
        open_cohorts(run, EvalConfig(cohorts=(study / "external_C9.json",)))
    with pytest.raises(DataError, match="one name"):
        open_cohorts(run, EvalConfig(cohorts=(study / "test.json",)))
    shutil.copytree(study, tmp_path / "other")
    leaky = tmp_path / "other" / "external_C2.json"
    rows = json.loads((study / "train.json").read_text())[:2]
    leaky.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="1 patients of the train images are in the cohort external_C2"):
        open_cohorts(run, EvalConfig(cohorts=(leaky,)))
    leaky.write_text(json.dumps([row | {"center": "C2"} for row in rows]))
    assert "of another centre" in open_cohorts(run, EvalConfig(cohorts=(leaky,))).notes[0]


def test_a_band_leaves_images_to_a_person(study: Path, tmp_path: Path, measured_study: Run) -> None:
    run = on(measured_study, study, tmp_path / "run")
    made = clinical_task(run, EvalConfig(bootstrap=5, abstain=0.3))
    test = made["cohorts"]["test"]
    assert test["abstained"] > 0 and set(test["decided"]) == {"accuracy", "sensitivity", "specificity"}
    assert np.sum(test["confusion"]["counts"]) == test["samples"]


def test_missing_modalities_of_a_cohort_are_legal_and_told(study: Path, tmp_path: Path, measured_study: Run) -> None:
    def bare(row: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in row.items() if k != "description"}

    other = rewritten(study, tmp_path / "other", "prospective", bare)
    run = on(measured_study, other, tmp_path / "run")
    made = clinical_task(run, FAST)
    assert made["cohorts"]["prospective"]["shift"]["by_modality"]["text"] is None
    with (run.path / "predictions.csv").open(newline="") as file:
        assert {r["missing"] for r in csv.DictReader(file) if r["cohort"] == "prospective"} == {"text"}


def test_one_modality_alone(make_study_run: Any) -> None:
    made = clinical_task(make_study_run(preset="shared_encoder"), FAST)
    assert list(made["ablation"]) == ["image"] and made["alignment"] == {} and made["gates"] == {}
    assert math.isfinite(made["cohorts"]["test"]["auc"]["value"])


def test_a_run_of_another_method_is_refused_and_other_tasks_go_on(
    study: Path, tmp_path: Path, measured_study: Run
) -> None:
    run = on(measured_study, study, tmp_path / "run")
    config = configio.load("simclr", None, {"data.root": study, **STUDY})
    (run.path / "config.yaml").write_text(configio.dump(config))
    with pytest.raises(ConfigError, match="makes no diagnosis"):
        clinical_task(run, FAST)
    made = evaluate(run, EvalConfig(tasks=("clinical", "classify"), bootstrap=5))
    assert "makes no diagnosis" in made["skipped"]["clinical"] and "classify" in made


def test_a_checkpoint_of_another_method_is_refused(study: Path, tmp_path: Path, measured_study: Run) -> None:
    run = on(measured_study, study, tmp_path / "run")
    checkpoint.save(run.checkpoints, 2, {"method": {"head.0.weight": torch.zeros(2, 2)}}, 1)
    with pytest.raises(DataError, match="another method or configuration"):
        clinical_task(run, FAST)


def test_data_that_are_no_study_are_refused(measured_study: Run) -> None:
    pictures = TensorDataset(torch.rand(4, 1, 24, 24), [0, 1, 0, 1], classes=("non-standard", "standard"))
    with pytest.raises(DataError, match="no study"):
        open_cohorts(measured_study, FAST, pictures)
