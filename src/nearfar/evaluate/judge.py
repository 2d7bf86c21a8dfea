"""New images judged by a diagnostic model: a row for each, with the box that matters most, by the frozen decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.config import DataConfig
from nearfar.data.loader import make_loader
from nearfar.data.readers.base import image_files
from nearfar.data.study import StudyDataset
from nearfar.data.study_rows import load_rows
from nearfar.errors import DataError
from nearfar.evaluate.attribution import strongest
from nearfar.evaluate.clinical_files import prediction_rows
from nearfar.evaluate.decision import Decision, load_decision
from nearfar.evaluate.diagnosis import box_changes, diagnostic_method, score

if TYPE_CHECKING:
    from nearfar.train.run import Run

BATCH = 32


@dataclass(frozen=True)
class Judge:
    """A method with the decision that was fitted for it, and how its images are read.

    decision: None where none was fitted yet; there are then no calibrated probabilities and no decisions.
    data: size and max_objects as in training; object classes are those of the method.
    """

    method: Any
    decision: Decision | None
    data: DataConfig

    @classmethod
    def of_run(cls, run: Run) -> Judge:
        """Raises ConfigError where the run's method makes no diagnosis, DataError for a damaged decision.json."""
        return cls(diagnostic_method(run), load_decision(run.path), run.config.data)

    def __call__(self, source: Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """One row a sample of an image (also DICOM), a folder of images, a JSON file, or rows as they stand in one.

        Columns as in predictions.csv without `cohort`; then `box`, the object class whose removal changes the logit
        most, `box_change`, logit with it minus without, and `error`. Of a folder, an image that cannot be read keeps
        its row, with the reason in `error`. Raises DataError for all else that is wrong, and where no image is left.
        """
        study, errors = self._opened(source)
        rows = [row | {"error": ""} for row in self._judged(study)] if len(study) else []
        return [*rows, *(_failed(name, why) for name, why in errors.items())]

    def _opened(self, source: Any) -> tuple[StudyDataset, dict[str, str]]:
        known: dict[str, Any] = {
            "channels": len(self.method.encoder.channels),
            "object_classes": self.method.object_classes,
        }
        data = replace(self.data, labels=None)
        if not (isinstance(source, Path) and source.is_dir()):
            return load_rows(source, data, **known), {}
        readable, errors = [], {}
        for path in image_files(source):
            name = path.relative_to(source).as_posix()
            try:
                load_rows(path, data, **known)[0]
            except DataError as error:
                errors[name] = error.what
            else:
                readable.append({"image_path": name})
        if not readable:
            why = next(iter(errors.values()), "it holds no images")
            raise DataError("no image of the folder can be read", where=source, found=why)
        return load_rows(readable, data, image_root=source, **known), errors

    def _judged(self, study: StudyDataset) -> list[dict[str, str]]:
        scores = score(self.method, study, batch_size=BATCH)
        rows = prediction_rows(scores, self.decision)
        loader = make_loader(study, batch_size=BATCH, sampler="sequential", drop_last=False)
        start = 0
        for batch in loader:
            here = np.arange(start, start + len(batch["index"]))
            change = box_changes(self.method, batch, scores.where(here))
            for k, row in enumerate(rows[start : start + len(here)]):
                found = strongest(change[k], batch["object_labels"][k].numpy(), study.object_classes)
                told = found.name and not np.isnan(found.change)
                row["box"] = found.name if told else ""
                row["box_change"] = f"{found.change:+.4f}" if told else ""
            start += len(here)
        return rows


def _failed(name: str, why: str) -> dict[str, str]:
    return {"sample_id": name, "error": why}
