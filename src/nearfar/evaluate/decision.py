"""From logits to decisions: a calibrator and an operating point, chosen on validation images, kept in decision.json.

Whatever is judged later (test images, other cohorts, new images) is judged by the file as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar import __version__
from nearfar.config import EvalConfig
from nearfar.data.study import CLASSES
from nearfar.errors import ConfigError, DataError, did_you_mean
from nearfar.evaluate.calibrators import Calibrator, fit_calibrator
from nearfar.evaluate.operating import (
    ABSTAIN,
    OperatingPoint,
    at_cost,
    at_sensitivity,
    at_specificity,
    with_band,
    youden,
)
from nearfar.train.files import write_atomically

Array = NDArray[Any]
FILE = "decision.json"
WORDS = {0: CLASSES[0], 1: CLASSES[1], ABSTAIN: "abstain"}
"""what a decision is called"""

_POINTS: dict[str, Callable[[Array, Array, float], OperatingPoint]] = {
    "youden": lambda labels, p, _: youden(labels, p),
    "sensitivity": at_sensitivity,
    "specificity": at_specificity,
    "cost": lambda labels, p, cost: at_cost(labels, p, false_negative=1.0, false_positive=cost),
}


@dataclass(frozen=True)
class Decision:
    """A frozen way from logits to decisions."""

    calibrator: Calibrator
    point: OperatingPoint
    fitted: dict[str, Any] = field(default_factory=dict)
    """what it was fitted on: number of samples and of patients, share of standard images"""

    def probabilities(self, logits: Array) -> Array:
        """Calibrated probabilities of label 1 (standard) [n]."""
        return self.calibrator.apply(logits)

    def decide(self, logits: Array) -> Array:
        """1, 0 or `ABSTAIN` [n]."""
        return self.point.decide(self.probabilities(logits))

    @property
    def rule(self) -> str:
        """How images are called, in a sentence."""
        band = self.point.band
        text = (
            f"an image is called standard where its calibrated probability ({self.calibrator.kind}) is at least "
            f"{self.point.threshold:.3f} ({self.point.rule} on {self.fitted.get('samples', '?')} validation images)"
        )
        return f"{text}, and left to a person between {band[0]:.3f} and {band[1]:.3f}." if band else f"{text}."

    def state(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"calibrator": self.calibrator.state(), "operating": self.point.state(), "fitted": self.fitted}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Decision:
        """Raises ConfigError or KeyError where a part is missing."""
        point = OperatingPoint.from_state(state["operating"])
        return cls(Calibrator.from_state(state["calibrator"]), point, dict(state.get("fitted", {})))

    def save(self, folder: Path) -> Path:
        """Write decision.json of a run folder, atomically."""
        path = folder / FILE
        content = {"nearfar": __version__, "classes": list(CLASSES), **self.state()}
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        return path


def fit_decision(logits: Array, labels: Array, patients: Array, config: EvalConfig) -> Decision:
    """Calibrator, threshold and band of `config`, from the logits and labels [n] of validation images alone.

    Raises ConfigError for an unknown rule or a target that is none, DataError where one class is missing.
    """
    rule = _POINTS.get(config.operating)
    if rule is None:
        fix = did_you_mean(config.operating, _POINTS, f"Known: {', '.join(_POINTS)}.")
        raise ConfigError(f"unknown rule '{config.operating}'", where="eval.operating", fix=fix)
    calibrator = fit_calibrator(config.calibration, labels, logits)
    probabilities = calibrator.apply(logits)
    point = rule(labels, probabilities, config.operating_target)
    if config.abstain:
        point = with_band(point, probabilities, config.abstain)
    told = {"samples": len(labels), "patients": len(np.unique(patients)), "prevalence": float(np.mean(labels))}
    return Decision(calibrator, point, told)


def load_decision(folder: Path) -> Decision | None:
    """decision.json of a run folder; None where there is none. Raises DataError where it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Decision.from_state(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise DataError(
            "the decision file cannot be used", where=path, found=error, fix="Write it anew: nearfar eval RUN."
        ) from error
