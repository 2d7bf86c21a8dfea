"""What a task learnt on top of a run's encoder, kept in the run folder: heads/TASK.safetensors, and ready to predict.

A head's file holds its weights, the statistics that the encoder then normalises with, the encoder's own weights where
it was fine-tuned, and in its header everything else: task, classes, bands, sensor, and how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar import __version__
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.train.files import write_atomically

if TYPE_CHECKING:
    from nearfar.train.run import Run

KEY = "nearfar_head"
HEAD_TASKS = ("landcover", "segment", "change")

Maps = Callable[[Tensor, Tensor], Tensor]
"""(pixels float32 [T, C, h, w], valid bool [T, h, w]) -> probabilities [K, h, w]"""


@dataclass(frozen=True)
class Predictor:
    """From dated reflectance to probabilities of classes, pixel by pixel.

    task: landcover, segment or change. classes: K names. times: dates that it needs at least, for change exactly 2.
    bands, sensor: what it is given, by name and in this order. size_multiple: heights and widths that are multiples of
    it need no padding inside. colours: (r, g, b) a class, or empty. meta: all that its file says.
    """

    task: str
    classes: tuple[str, ...]
    times: int
    bands: tuple[str, ...]
    sensor: str
    size_multiple: int
    maps: Maps
    colours: tuple[tuple[int, int, int], ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def statistics(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of each of `bands` that the encoder normalises by, where its file says them."""
        if not {"mean", "std", "index"} <= set(self.meta):
            return None
        places = [self.meta["index"].index(i) for i in range(len(self.bands))]
        return [self.meta["mean"][c] for c in places], [self.meta["std"][c] for c in places]

    def __call__(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Reflectance float32 [T, C, h, w] where valid bool [T, h, w] -> probabilities float32 [K, h, w].

        Values of pixels that are not valid play no part. Raises ShapeError, or DataError for NaN in valid pixels.
        """
        dates, wanted = (2 if self.task == "change" else max(len(pixels), 1)), len(self.bands)
        if pixels.ndim != 4 or valid.shape != (dates, *pixels.shape[2:]) or pixels.shape[:2] != (dates, wanted):
            raise ShapeError(
                f"the pixels do not suit a head for {self.task}",
                found=f"pixels {pixels.shape}, valid {valid.shape}",
                expected=f"[{'2' if dates == 2 else 'T'}, {wanted}, h, w] ({', '.join(self.bands)}) and the same "
                "without bands",
            )
        if np.isnan(np.where(valid[:, None], pixels, 0)).any():
            raise DataError("valid pixels are NaN", fix="Mark them as without data.")
        with torch.no_grad():
            found = self.maps(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(valid.copy()))
        return np.asarray(found.float().cpu().numpy())


def head_path(run: Run, task: str) -> Path:
    """Where the head of a task lies, whether or not it exists."""
    return run.path / "heads" / f"{task}.safetensors"


def save_head(run: Run, task: str, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Path:
    """Write a head atomically; `meta`, plain values for JSON, must say task's classes, times, bands and sensor."""
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    header = {KEY: json.dumps({"nearfar": __version__, "task": task, **meta})}
    path = head_path(run, task)
    write_atomically(path, safetensors.torch.save(tensors, header))
    return path


def read_head(run: Run, task: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(meta, state) of a head. ConfigError where the run has none, DataError where the file is damaged."""
    path = head_path(run, task)
    if not path.is_file():
        have = [name for name in HEAD_TASKS if head_path(run, name).is_file()]
        raise ConfigError(
            f"the run has no head for {task}",
            where=run.path,
            found=", ".join(have) or "none",
            fix=f"Make one: nearfar eval {run.path} --task {task} --root DATA.",
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            meta: dict[str, Any] = json.loads((file.metadata() or {})[KEY])
            return meta, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise DataError(
            f"the head cannot be read: {error}", where=path, fix=f"Evaluate the run's {task} again."
        ) from error


def load_predictor(run: Run, task: str) -> Predictor:
    """The head that `nearfar eval RUN --task TASK` left, on the run's encoder, ready to predict.

    Raises ConfigError for an unknown task or a run without such a head, DataError where its file is damaged or was made
    for another encoder.
    """
    if task not in HEAD_TASKS:
        raise ConfigError("no head makes maps of this task", found=task, expected=" | ".join(HEAD_TASKS))
    meta, state = read_head(run, task)
    try:
        return restore(run, meta, state)
    except (KeyError, RuntimeError, ShapeError) as error:
        raise DataError(
            f"the head does not fit the run's encoder: {str(error).splitlines()[0]}",
            where=head_path(run, task),
            fix=f"Evaluate the run's {task} again.",
        ) from error


def restore(run: Run, meta: dict[str, Any], state: Mapping[str, Tensor]) -> Predictor:
    """A predictor from what `read_head` gives."""
    from nearfar.evaluate.dense_maps import dense_maps
    from nearfar.evaluate.embed import run_encoder
    from nearfar.evaluate.landcover_maps import landcover_maps

    encoder = run_encoder(run)
    own = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    if own:
        encoder.load_state_dict(own)
    encoder.mean.copy_(state["mean"])
    encoder.std.copy_(state["std"])
    rest = {name: value for name, value in state.items() if not name.startswith("encoder.")}
    maps = (landcover_maps if meta["task"] == "landcover" else dense_maps)(encoder, meta, rest)
    return predictor({**meta, "mean": encoder.mean.tolist(), "std": encoder.std.tolist()}, maps)


def predictor(meta: dict[str, Any], maps: Maps) -> Predictor:
    """A predictor that does what `meta` says by `maps`."""
    return Predictor(
        task=meta["task"],
        classes=tuple(meta["classes"]),
        times=int(meta["times"]),
        bands=tuple(meta["bands"]),
        sensor=meta["sensor"],
        size_multiple=int(meta["size_multiple"]),
        maps=maps,
        colours=tuple((r, g, b) for r, g, b in meta.get("colours") or ()),
        meta=meta,
    )
