"""A predictor judged on labelled scenes: window by window at native resolution, counted in one confusion a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nearfar.evaluate.bootstrap import IntArray
from nearfar.evaluate.composites import FALSE_COLOUR, TRUE_COLOUR, composite
from nearfar.evaluate.confusion import IGNORED, pixel_confusion
from nearfar.evaluate.heads import Predictor
from nearfar.evaluate.windowed import windowed

if TYPE_CHECKING:
    from nearfar.data.scenes import LabelledScene, SceneSet

Labels = NDArray[np.uint8]

WINDOW, OVERLAP = 512, 64
SHOWN = 6  # scenes kept for pictures
SIDE = 512  # of a picture at most


@dataclass(frozen=True)
class SceneResult:
    """A scene judged: counts [K, K] with rows the truth, and uint8 maps [H, W], 255 where nothing counts."""

    scene: LabelledScene
    confusion: IntArray
    true: Labels
    predicted: Labels


def judge(predictor: Predictor, scene: LabelledScene, channels: Sequence[int]) -> SceneResult:
    """Predict a scene and compare. `channels`: positions of the predictor's bands among the scene's.

    A pixel counts where it is labelled and any date has data, for change where both have.
    """
    windows = _Windows(predictor, scene, list(channels))
    windowed(windows.read, windows.write, scene.shape, windows.predict, WINDOW, OVERLAP)
    true, predicted = windows.true, windows.predicted
    counts = pixel_confusion(true, predicted, len(predictor.classes), true != IGNORED)
    return SceneResult(scene, counts, true, predicted)


class _Windows:
    """The three functions that `windowed` asks for, and the maps they fill."""

    def __init__(self, predictor: Predictor, scene: LabelledScene, channels: list[int]) -> None:
        self.predictor, self.scene, self.channels = predictor, scene, channels
        self.true, self.predicted = (np.full(scene.shape, IGNORED, np.uint8) for _ in range(2))

    def read(self, rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        pixels, self.valid, target = self.scene.read(rows, cols)
        known = self.valid.all(0) if self.predictor.task == "change" else self.valid.any(0)
        self.true[rows, cols] = np.where(known, target, IGNORED)
        return pixels[:, self.channels], np.asarray(known)

    def predict(self, pixels: NDArray[Any], _: NDArray[np.bool_]) -> NDArray[Any]:
        return np.asarray(self.predictor(pixels, self.valid).argmax(0)[None])

    def write(self, rows: slice, cols: slice, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        self.predicted[rows, cols] = np.where(valid, values[0], IGNORED)


def pictures(results: Sequence[SceneResult], scenes: SceneSet, bands: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of up to 6 scenes for a report, all cut to one size, at most 512 x 512 pixels, around their middle.

    `true`, `predicted` uint8 [k, H, W] (255: does not count), `colour` and `false_colour` uint8 [k, H, W, 3] of the
    clearest date (`colour_second`, for pairs, of the second), `id` [k], `classes` [K], `colours` uint8 [K, 3] if known.
    """
    shown = list(results[:SHOWN])
    size = tuple(min(SIDE, *(r.true.shape[axis] for r in shown)) for axis in (0, 1))
    made: dict[str, list[Any]] = {}
    for result in shown:
        rows, cols = (slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(result.true.shape, size, strict=True))
        made.setdefault("true", []).append(result.true[rows, cols])
        made.setdefault("predicted", []).append(result.predicted[rows, cols])
        made.setdefault("id", []).append(result.scene.id)
        for name, picture in _colours(result.scene, rows, cols, scenes, bands).items():
            made.setdefault(name, []).append(picture)
    arrays = {name: np.array(values) for name, values in made.items() if len(values) == len(shown)}
    arrays["classes"] = np.array(scenes.classes, dtype=np.str_)
    if scenes.colours is not None:
        arrays["colours"] = np.array(scenes.colours, np.uint8)
    return arrays


def _colours(
    scene: LabelledScene, rows: slice, cols: slice, scenes: SceneSet, bands: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    pixels, valid, _ = scene.read(rows, cols)
    date = 0 if scenes.kind == "change" else int(valid.reshape(len(valid), -1).sum(1).argmax())
    wanted = {"colour": (date, TRUE_COLOUR), "false_colour": (date, FALSE_COLOUR)}
    if scenes.kind == "change":
        wanted["colour_second"] = (1, TRUE_COLOUR)
    made = {name: composite(pixels[t], bands, scenes.sensor, of, valid[t]) for name, (t, of) in wanted.items()}
    return {name: picture for name, picture in made.items() if picture is not None}
