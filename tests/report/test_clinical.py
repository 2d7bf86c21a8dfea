"""The sections of a report about a diagnosis, from the files of a measured run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from nearfar.report import build, clinical
from nearfar.report.page import number
from nearfar.train.run import Run


def texts(part: Any) -> str:
    rows = [cell for t in part.tables for row in (t.head, *t.rows) for cell in row]
    return "\n".join([*part.texts, *rows, *(t.caption for t in part.tables), *(f.caption for f in part.figures)])


def test_every_section_is_on_the_page_with_its_figures(diagnosed: Run) -> None:
    page = build([diagnosed], diagnosed.path / "report.html").read_text()
    for title in (
        "Diagnosis", "Discrimination", "Calibration", "Subgroups", "What each modality contributes",
        "Alignment of the modalities", "Cohorts and shift", "Examples",
    ):  # fmt: skip
        assert f">{title}<" in page
    assert {p.name for p in diagnosed.figures.iterdir()} >= {
        "clinical_curves.png", "clinical_confusion.png", "reliability.png", "net_benefit.png", "subgroups.png",
        "alignment.png", "clinical_examples.png",
    }  # fmt: skip


def test_the_numbers_are_those_of_metrics_json(diagnosed: Run) -> None:
    found = json.loads((diagnosed.path / "metrics.json").read_text())["clinical"]
    shown = texts(clinical.diagnosis({"one": diagnosed}))
    for cohort in ("test", "prospective", "external_C1"):
        assert cohort in shown
        assert number(found["cohorts"][cohort]["auc"]) in shown
    assert found["decision"]["rule"] in shown
    shown = texts(clinical.cohorts({"one": diagnosed}))
    assert number(found["cohorts"]["external_C1"]["shift"]["classifier_auc"]) in shown
    assert "val" not in shown.split("\n")


def test_two_runs_are_compared_on_the_same_images(diagnosed: Run, tmp_path: Path) -> None:
    shutil.copytree(diagnosed.path, tmp_path / "two")
    table = clinical.diagnosis({"one": diagnosed, "two": Run(tmp_path / "two")}).tables[-1]
    assert table.rows == [["one minus two", "0.000 (0.000 to 0.000)", "1.000", "1.000"]]


def test_what_could_not_be_measured_is_a_dash_or_left_out(diagnosed: Run, tmp_path: Path) -> None:
    shutil.copytree(diagnosed.path, tmp_path / "less")
    less = Run(tmp_path / "less")
    found = less.metrics["clinical"]
    found["cohorts"]["test"] |= {"auc": None, "average_precision": None}
    for name in ("net_benefit", "subgroups", "gaps"):
        found.pop(name)
    less.update_metrics("clinical", found)
    shutil.rmtree(less.arrays)
    runs = {"less": less}
    assert "–" in clinical.diagnosis(runs).tables[0].rows[1]
    assert not clinical.subgroups(runs) and not clinical.discrimination(runs, tmp_path).figures[1:]
    assert build([less], less.path / "report.html").is_file()


def test_other_runs_have_no_such_sections(tmp_path: Path) -> None:
    runs = {"none": Run(tmp_path)}
    parts = [
        clinical.diagnosis(runs), clinical.discrimination(runs, tmp_path), clinical.calibration(runs),
        clinical.subgroups(runs), clinical.cohorts(runs),
    ]  # fmt: skip
    assert not any(parts)
