"""`nearfar predict`, `eval --cohorts` and `export` of a run that makes diagnoses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nearfar.cli import main
from nearfar.train.run import Run


@pytest.fixture
def run(measured_study: Run, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(measured_study.path, folder)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_gets_the_rows_of_the_evaluation_and_the_box_that_matters(
    run: Path, study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    assert main(["predict", str(run), str(study / "test.json"), "-o", str(out)]) == 0
    assert main(["predict", str(run), str(study / "test.json"), "-o", str(out)]) == 2  # not overwritten unasked
    rows = table(out)
    known = {r["sample_id"]: r for r in table(run / "predictions.csv") if r["cohort"] == "test"}
    assert len(rows) == len(known)
    for row in rows:
        stored = known[row["sample_id"]]
        assert float(row["p_calibrated"]) == pytest.approx(float(stored["p_calibrated"]), abs=2e-5)
        for name in ("patient_id", "decision", "label", "missing"):
            assert row[name] == stored[name]
        assert row["box"] in ("NT", "CRL") and abs(float(row["box_change"])) >= 0 and row["error"] == ""
    assert len({row["box_change"] for row in rows}) > 3


def test_a_missing_modality_is_legal_and_shown(
    run: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = json.loads((study / "test.json").read_text())[0]
    bare = {k: v for k, v in row.items() if k not in ("description", "class_label")}
    bare["image_path"] = str(study / row["image_path"])
    (tmp_path / "image.json").write_text(json.dumps(bare))
    assert main(["predict", str(run), str(tmp_path / "image.json")]) == 0
    (made,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert made["missing"] == "text" and made["label"] == "" and made["box"]
    assert float(made["gate_text"]) == 0 and made["decision"] in ("standard", "non-standard")


def test_an_image_alone_has_no_box(run: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = next((study / "images").glob("*.png"))
    assert main(["predict", str(run), str(image)]) == 0
    (made,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert made["missing"] == "text boxes" and made["box"] == made["box_change"] == ""


def test_an_unreadable_image_in_a_folder_keeps_its_row(
    run: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    images = sorted((study / "images").glob("*.png"))[:3]
    for path in images:
        shutil.copy(path, folder)
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "cut.png").write_bytes(images[0].read_bytes()[:120])
    assert main(["predict", str(run), str(folder), "-o", str(tmp_path / "out.csv")]) == 3
    rows = {row["sample_id"]: row for row in table(tmp_path / "out.csv")}
    assert len(rows) == 5 and all(rows[p.name]["p"] and not rows[p.name]["error"] for p in images)
    for name in ("broken.png", "cut.png"):
        assert rows[name]["p"] == "" and rows[name]["decision"] == "" and rows[name]["error"]
    assert "broken.png" in capsys.readouterr().err
    for path in images:
        (folder / path.name).unlink()
    assert main(["predict", str(run), str(folder)]) == 3
    assert "no image of the folder can be read" in capsys.readouterr().err


def test_without_a_decision_nothing_is_decided(
    run: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "decision.json").unlink()
    assert main(["predict", str(run), str(study / "test.json"), "-o", str(tmp_path / "out.csv")]) == 0
    assert "no decision.json" in capsys.readouterr().err
    assert all(row["p"] and row["p_calibrated"] == row["decision"] == "" for row in table(tmp_path / "out.csv"))
    (run / "decision.json").write_text("{}")
    assert main(["predict", str(run), str(study / "test.json")]) == 3
    assert "decision file cannot be used" in capsys.readouterr().err


def test_a_wrong_row_is_named(run: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads((study / "test.json").read_text())[:2]
    for row in rows:
        row["image_path"] = str(study / row["image_path"])
    rows[1]["coordinates"][0]["bbox"] = [9, 2, 3, 8]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert main(["predict", str(run), str(tmp_path / "rows.json")]) == 3
    error = capsys.readouterr().err
    assert "E_BBOX_ORDER" in error and "rows.json[1].coordinates[0]" in error


def test_dicom_files_are_judged(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pydicom")
    path = write_dicom(tmp_path / "frame.dcm")
    assert main(["predict", str(run), str(path)]) == 0
    (made,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert made["missing"] == "text boxes" and made["patient_id"] and "P-SECRET" not in made["patient_id"]


def write_dicom(path: Path) -> Path:
    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UltrasoundImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made: Any = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Modality, made.PatientID = "US", "P-SECRET"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 20, 24, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = np.random.default_rng(0).integers(0, 255, (20, 24), dtype=np.uint8).tobytes()
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.slow
def test_eval_of_named_cohorts(run: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = str(study / "external_C1.json")
    assert (
        main(["eval", str(run), "--task", "clinical", "--cohorts", cohort, "--operating", "specificity", "--json"]) == 0
    )
    made = json.loads(capsys.readouterr().out)["clinical"]
    assert list(made["cohorts"]) == ["val", "test", "external_C1"]
    assert "specificity at least 0.9" in made["decision"]["rule"]
    assert main(["eval", str(run), "--task", "clinical", "--cohorts", str(study / "nothing.json")]) == 3
    assert "no such cohort" in capsys.readouterr().err
