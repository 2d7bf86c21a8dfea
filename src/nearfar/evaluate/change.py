"""Change between two dates, pixel by pixel: a siamese decoder on the run's encoder, trained and tested on pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.evaluate.confusion import binary_report
from nearfar.evaluate.scene_task import run_scenes

if TYPE_CHECKING:
    from nearfar.train.run import Run


def change_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """A `binary_report` of change on the test pairs of `config.change`, and how the decoder was made.

    Pixels are counted at native resolution where both dates have data, all pairs in one confusion. The epoch and the
    probability above which a pixel is changed are chosen on the validation pairs, never on the test pairs. `dataset` is
    not used. Writes heads/change.safetensors and arrays/change.npz; raises as `run_scenes`.
    """
    found = run_scenes(run, config, "change")
    options: dict[str, Any] = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
    total = found.confusions.sum(axis=0)
    return {
        **binary_report(found.confusions, **options),
        "confusion": {"classes": list(found.scenes.classes), "counts": total.tolist()},
        "pixels": int(total.sum()),
        "scenes": len(found.results),
        **found.settings,
    }
