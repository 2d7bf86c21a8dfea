"""MODEL_CARD.md of a diagnostic model: what it is for, where it was measured, with intervals, and what it must not be.

After Mitchell et al. 2019, "Model cards for model reporting". Every number is one of metrics.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar import __version__
from nearfar.evaluate.decision import load_decision
from nearfar.report.page import number
from nearfar.train.files import write_atomically

if TYPE_CHECKING:
    from nearfar.train.run import Run

Found = Mapping[str, Any]
NOT_A_DEVICE = (
    "**This is NOT a medical device.** It has no regulatory clearance anywhere and must not be used to diagnose, to "
    "treat, or to decide whether an examination is repeated."
)
USE = (
    "Research on the quality of ultrasound images: whether an image is a standard view, judged from the image, a "
    "caption and detected structures. Meant for people who can judge the image themselves. Not meant for other organs, "
    "devices or ages of gestation than those it was measured on, for anything about the health of mother or child, or "
    "for use without a person."
)
UNMEASURED = "Not measured: run `nearfar eval RUN` and export again."


def write_model_card(run: Run, path: Path, weights: Sequence[str] = ()) -> Path:
    """The card of a run, from its config.yaml, metrics.json and decision.json; `weights` are the files beside it."""
    text = "\n\n".join(part for part in _parts(run, weights) if part) + "\n"
    write_atomically(path, text.encode())
    return path


def _parts(run: Run, weights: Sequence[str]) -> list[str]:
    config, found = run.config, run.metrics.get("clinical", {})
    method, decision = config.method, load_decision(run.path)
    seen = ", ".join(getattr(method, "modalities", ()))
    files = "".join(f"\n- weights: `{name}`" for name in weights)
    rule = decision.rule if decision else "none: without decision.json the model gives a logit and calls nothing."
    cohorts: Found = found.get("cohorts", {})
    return [
        f"# Model card: {run.path.resolve().name}",
        NOT_A_DEVICE,
        f"- preset: `{config.preset}`, modalities: {seen}, fusion: {getattr(method, 'fusion', '')}\n"
        f"- image encoder: `{config.encoder.name}`, {config.encoder.size} x {config.encoder.size} pixels\n"
        f"- nearfar {__version__}, seed {config.train.seed}{files}",
        f"## Intended use\n\n{USE}",
        f"## Decision\n\nAs fitted on validation images and frozen: {rule}",
        "## Cohorts and measures\n\nBrackets hold 95 % intervals that draw whole patients.\n\n" + _measures(cohorts),
        _calibration(cohorts),
        _subgroups(found.get("subgroups", {})),
        _modalities(found),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(found)),
    ]


def _measures(cohorts: Found) -> str:
    if not cohorts:
        return UNMEASURED
    keys = ("auc", "average_precision", "accuracy", "f1", "sensitivity", "specificity")
    head = ["cohort", "images", "patients", "standard", "ROC-AUC", "average precision", *keys[2:]]
    rows = [
        [name, *(number(m.get(key)) for key in ("samples", "patients", "prevalence", *keys))]
        for name, m in cohorts.items()
    ]
    return _table(head, rows)


def _calibration(cohorts: Found) -> str:
    known = {name: m["calibration"]["calibrated"] for name, m in cohorts.items() if m.get("calibration")}
    if not known:
        return ""
    keys = ("brier", "ece", "slope", "intercept")
    rows = [[name, *(number(m.get(key)) for key in keys)] for name, m in known.items()]
    return "## Calibration\n\n" + _table(["cohort", "Brier", "ECE", "slope", "intercept"], rows)


def _subgroups(groups: Found) -> str:
    rows = [
        [column, str(row["group"]), number(row["samples"]), number(row.get("auc"))]
        for column, found in groups.items()
        for row in found
    ]
    return (
        "## Subgroups of the test images\n\n" + _table(["column", "group", "images", "ROC-AUC"], rows) if rows else ""
    )


def _modalities(found: Found) -> str:
    rows = [
        [kept.replace("+", ", "), number(row["auc"]), number(row.get("drop"))]
        for kept, row in (found.get("ablation") or {}).items()
    ]
    if not rows:
        return ""
    text = "## A missing modality\n\nAny modality may be missing; this is what is then left on the test images.\n\n"
    return text + _table(["with", "ROC-AUC", "drop"], rows)


def _limits(found: Found) -> list[str]:
    cohorts: Found = found.get("cohorts", {})
    lines = [
        "Calibration and threshold hold for patients and devices like those of the validation images. Elsewhere they "
        "must be checked, and usually fitted again.",
        "A caption or detector that was made from the label would make these numbers meaningless.",
        "Gates say how embeddings are mixed. They are no measure of importance, and no explanation.",
        "Leaving out a box tells what the model reacts to, not what is wrong with the image.",
    ]
    worst = {name: m["drop"]["value"] for name, m in cohorts.items() if m.get("drop")}
    if worst:
        name = max(worst, key=lambda key: float(worst[key]))
        lines.append(f"The largest drop in ROC-AUC from the test images is {number(cohorts[name]['drop'])}, in {name}.")
    else:
        lines.append("No cohort beside the test images was measured: nothing is known of other centres.")
    return [*lines, *found.get("notes", ())]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
