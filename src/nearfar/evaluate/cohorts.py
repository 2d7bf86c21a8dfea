"""The cohorts that a diagnosis is measured in: the run's validation and test images, and studies beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.config import DataConfig, EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.study import StudyDataset
from nearfar.data.study_rows import load_rows
from nearfar.errors import DataError
from nearfar.evaluate.diagnosis import as_study
from nearfar.evaluate.embed import run_splits

if TYPE_CHECKING:
    from nearfar.train.run import Run

BESIDE = ("prospective.json", "external*.json")
"""files in the folder of the run's studies that are measured where no cohort is named"""


@dataclass(frozen=True)
class Cohorts:
    """Studies by name: "val", "test", then the others by file name without ending."""

    parts: dict[str, StudyDataset]
    notes: tuple[str, ...] = field(default=())
    """what a reader of the numbers must know"""


def open_cohorts(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> Cohorts:
    """The run's val and test images (`dataset` stands in for the latter) and those of `config.cohorts`.

    Raises DataError where the run's data are no study, val or test is empty, two cohorts have one name, or a patient
    of the training or validation images is in another cohort of the same centre.
    """
    splits = {name: as_study(part) for name, part in run_splits(run, dataset).items()}
    for name in ("val", "test"):
        if name not in splits:
            raise DataError(f"the {name} split is empty", fix=f"A diagnosis needs it: set --data.{name}.")
    parts = {"val": splits["val"], "test": splits["test"]}
    channels = len(splits["test"].channels)
    data = run.config.data
    for path in cohort_files(data, config):
        if path.stem in (*parts, "train"):
            raise DataError("two cohorts have one name", where=path, found=path.stem, fix="Rename the file.")
        beside = path.parent == _folder(data)
        images = data.image_root if beside else None
        parts[path.stem] = load_rows(path, data, missing_ok=True, channels=channels, image_root=images)
    notes = []
    for name, part in parts.items():
        for fitted in ("train", "val"):
            if fitted in splits and name not in ("val", fitted):
                notes += _shared(name, part, fitted, splits[fitted])
    return Cohorts(parts, tuple(notes))


def cohort_files(data: DataConfig, config: EvalConfig) -> list[Path]:
    """`config.cohorts`, else those beside the test file of the run's data. Raises DataError where one is not there."""
    if config.cohorts:
        for path in config.cohorts:
            if not path.is_file():
                raise DataError("there is no such cohort", where=path, fix="Check --cohorts.")
        return list(config.cohorts)
    return list(_beside(data))


def _beside(data: DataConfig) -> Iterator[Path]:
    folder = _folder(data)
    if folder is not None and folder.is_dir():
        for pattern in BESIDE:
            yield from sorted(folder.glob(pattern))


def _folder(data: DataConfig) -> Path | None:
    return data.test.parent if data.test is not None else data.root


def _shared(name: str, part: StudyDataset, fitted: str, other: StudyDataset) -> list[str]:
    """A note where patients have the same identifier; DataError where they are also of the same centre."""
    known = {(p, c) for p, c in zip(other.patients, other.table["center"], strict=True) if p}
    here = {(p, c) for p, c in zip(part.patients, part.table["center"], strict=True) if p}
    same = {patient for patient, _ in known} & {patient for patient, _ in here}
    if known & here:
        patient, center = min(known & here)
        raise DataError(
            f"{len(known & here)} patients of the {fitted} images are in the cohort {name} too",
            where=name,
            found=f"patient {patient}" + (f" of centre {center}" if center else ""),
            fix="Take them out: what is measured on known patients is too good.",
        )
    if not same:
        return []
    return [f"{len(same)} patient identifiers of {name} are also among the {fitted} images, of another centre."]
