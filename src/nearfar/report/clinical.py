"""The sections of a report about a diagnosis: how well it is made, by cohort and subgroup."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.report import clinical_figures as figures
from nearfar.report import maps
from nearfar.report.clinical_evidence import Found, Runs, measured
from nearfar.report.page import Picture, Section, Table, number
from nearfar.report.sections import arrays
from nearfar.report.summary import lookup

MEASURES = {
    "auc": "ROC-AUC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
COUNTS = {"samples": "images", "patients": "patients", "prevalence": "standard"}
ACROSS = 4
"""panels of a figure"""


def diagnosis(runs: Runs) -> Section:
    """What was measured in each cohort at the frozen operating point, how that was chosen, and how runs differ."""
    part = Section("Diagnosis")
    for name, found in measured(runs).items():
        rows = [
            [cohort, *(number(m.get(key)) for key in (*COUNTS, *MEASURES)), number(m.get("abstained"))]
            for cohort, m in found["cohorts"].items()
        ]
        head = ["cohort", *COUNTS.values(), *MEASURES.values(), "left to a person"]
        part.tables.append(Table(head, rows, f"{name}. Intervals draw whole patients."))
        part.texts += [f"{name}: {line}" for line in (found["decision"]["rule"], *found.get("notes", ()))]
    part.tables += _differences(runs)
    return part


def discrimination(runs: Runs, folder: Path) -> Section:
    """ROC and precision-recall curves of every cohort, and confusion at the operating point."""
    part = Section("Discrimination")
    panels = []
    for name, run in runs.items():
        data = arrays(run, "clinical")
        if data is None:
            continue
        cohorts = [key.removeprefix("roc/") for key in data if key.startswith("roc/")]
        if cohorts:
            roc, precision = ({c: (data[f"{kind}/{c}"][0], data[f"{kind}/{c}"][1]) for c in cohorts} for kind in _KINDS)
            path = figures.curves_figure(roc, precision, run.figures / "clinical_curves.png")
            caption = f"{name}: every cohort with both classes. The dashed line is what guessing gives."
            part.figures.append(Picture(path, f"ROC and precision-recall curves of {name}", caption, wide=True))
        for cohort, found in lookup(run.metrics, "clinical", "cohorts").items():
            confusion = found.get("confusion")
            if confusion and cohort != "val":
                title = cohort if len(runs) == 1 else f"{name}, {cohort}"
                panels.append((title, np.array(confusion["counts"]), confusion["classes"]))
    for place, some in enumerate(_batched(panels, ACROSS)):
        path = maps.confusion_figure(some, folder / f"clinical_confusion{place or ''}.png")
        caption = "At the operating point; images left to a person are counted as they would have been called."
        part.figures.append(Picture(path, "confusion of the diagnosis by cohort", caption, wide=True))
    return part


_KINDS = ("roc", "precision_recall")


def calibration(runs: Runs) -> Section:
    """Reliability with counts, net benefit, and the errors before and after calibration."""
    part = Section("Calibration")
    for name, run in runs.items():
        found = lookup(run.metrics, "clinical")
        if not found:
            continue
        known = {c: m["calibration"] for c, m in found["cohorts"].items() if m.get("calibration")}
        rows = [_calibration_row(cohort, version, m[version]) for cohort, m in known.items() for version in m]
        head = ["cohort", "probability", "Brier", "ECE", "ECE, equal counts", "slope", "intercept"]
        caption = (
            f"{name}. A perfect model has ECE 0, slope 1 and intercept 0. Calibrated: by what was fitted on validation "
            "images. Adjusted: that, brought to the share of standard images that it implies for the cohort. Refitted: "
            "fitted on the cohort itself, so what a local calibration could reach at best."
        )
        part.tables.append(Table(head, rows, caption))
        panels = {
            c: {version: m[version]["bins"] for version in ("raw", "calibrated")}
            for c, m in known.items()
            if c != "val"
        }
        for place, some in enumerate(_batched(list(panels.items()), ACROSS)):
            path = figures.reliability_figure(dict(some), run.figures / f"reliability{place or ''}.png")
            caption = f"{name}: reliability by cohort, with the number of images in each bin (calibrated)."
            part.figures.append(Picture(path, f"reliability of {name}", caption, wide=True))
        if found.get("net_benefit"):
            threshold = lookup(found, "decision", "operating", "threshold")
            path = figures.decision_figure(found["net_benefit"], run.figures / "net_benefit.png", threshold)
            caption = f"{name}, test: net benefit of calling images standard, in true calls an image."
            part.figures.append(Picture(path, f"decision curve of {name}", caption))
    return part


def _calibration_row(cohort: str, version: str, found: Found) -> list[str]:
    keys = ("brier", "ece", "ece_equal_mass", "slope", "intercept")
    return [cohort, version, *(number(found.get(key)) for key in keys)]


def subgroups(runs: Runs) -> Section:
    """A forest plot and a table of the test images by view, centre, device and gestational age."""
    part = Section("Subgroups")
    for name, run in runs.items():
        found = lookup(run.metrics, "clinical", "subgroups")
        if not found:
            continue
        overall = lookup(run.metrics, "clinical", "cohorts", "test", "auc") or {}
        if any(figures.known(row) for rows in found.values() for row in rows):
            path = figures.forest_figure(found, overall, run.figures / "subgroups.png")
            caption = f"{name}: area under the ROC curve by subgroup, test; line and band are those of all images."
            part.figures.append(Picture(path, f"forest plot of {name}", caption, wide=True))
        head = ["column", "group", "images", "patients", "standard", *(MEASURES[k] for k in _BY_GROUP)]
        rows = [
            [column, str(row["group"]), *(number(row.get(key)) for key in (*COUNTS, *_BY_GROUP))]
            for column, group in found.items()
            for row in group
        ]
        part.tables.append(Table(head, rows, f"{name}, test. A dash: too few images, or one class alone."))
        gaps = lookup(run.metrics, "clinical", "gaps") or {}
        rows = [[column, number(gap.get("auc")), number(gap.get("p"))] for column, gap in gaps.items()]
        if rows:
            part.tables.append(Table(["column", "largest difference in ROC-AUC", "p"], rows, f"{name}: gaps"))
    return part


_BY_GROUP = ("auc", "sensitivity", "specificity")


def cohorts(runs: Runs) -> Section:
    """How far each cohort lies from the test images, and what is lost there."""
    part = Section("Cohorts and shift")
    for name, found in measured(runs).items():
        rows = []
        for cohort, m in found["cohorts"].items():
            shift = m.get("shift")
            if shift:
                keys = ("mmd", "p", "classifier_auc")
                rows.append(
                    [cohort, number(m["samples"]), number(m.get("prevalence")), number(m.get("drop"))]
                    + [number(shift.get(key)) for key in keys]
                    + [number(each) for each in shift["by_modality"].values()]
                )
        told = [f"by {modality}" for modality in _seen(found)]
        head = ["cohort", "images", "standard", "drop in ROC-AUC from test", "MMD", "p", "told from test", *told]
        caption = (
            f"{name}: shift of the embeddings from the test images. Told from test: ROC-AUC of a classifier that tells "
            "the cohort from the test images, 0.5 where it cannot."
        )
        if rows:
            part.tables.append(Table(head, rows, caption))
    return part


def _seen(found: Found) -> list[str]:
    shifts = [m["shift"] for m in found["cohorts"].values() if m.get("shift")]
    return list(shifts[0]["by_modality"]) if shifts else []


def _batched(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _differences(runs: Runs) -> list[Table]:
    """Every later run against the first, on test images that both judged; none where these differ."""
    from nearfar.evaluate.clinical_pairs import compare_diagnoses

    known = {name: data for name, run in runs.items() if (data := arrays(run, "clinical")) is not None}
    if len(known) < 2:
        return []
    first, *others = known
    rows: list[Sequence[str]] = []
    for other in others:
        found = compare_diagnoses(known[first], known[other])
        if found:
            rows.append(
                [f"{first} minus {other}", number(found["auc"]), number(found["p"]), number(found["mcnemar_p"])]
            )
    head = ["on the same test images", "ROC-AUC", "p (DeLong, by patient)", "p of the calls (McNemar)"]
    return [Table(head, rows)] if rows else []
