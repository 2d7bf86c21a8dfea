"""Maps of classes, pixel by pixel: a decoder on the run's encoder, trained and tested on labelled scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.evaluate.confusion import map_report, without_truth
from nearfar.evaluate.scene_task import run_scenes

if TYPE_CHECKING:
    from nearfar.train.run import Run

BACKGROUND = "background"


def segment_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """A `map_report` of the test scenes of `config.segment`, and how the decoder was made.

    Series of dates are pooled before the decoder. Where a class is called background, `without_background` reports the
    pixels whose truth is another class, as the PASTIS figures of SACo do; a prediction of background there is a miss.
    `dataset` is not used: the scenes bring their own test split. Writes heads/segment.safetensors and
    arrays/segment.npz; raises as `run_scenes`.
    """
    found = run_scenes(run, config, "segment")
    options: dict[str, Any] = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
    classes = found.scenes.classes
    report = {**map_report(found.confusions, classes, **options), **found.settings}
    lower = [name.lower() for name in classes]
    if BACKGROUND in lower:
        rest = without_truth(found.confusions, [lower.index(BACKGROUND)])
        if rest.sum():
            partial = map_report(rest, classes, **options)
            report["without_background"] = {k: partial[k] for k in ("overall_accuracy", "mean_iou", "averaged_over")}
    return report
