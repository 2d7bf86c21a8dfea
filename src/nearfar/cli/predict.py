"""`nearfar predict RUN SOURCE`: classes or diagnoses of new images as CSV, or a map of a scene as GeoTIFF."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nearfar.cli.common import fresh_file, parse
from nearfar.errors import ConfigError, DataError

if TYPE_CHECKING:
    from nearfar.evaluate.embeddings import Embeddings

MAPS = (".tif", ".tiff")


@dataclass
class Arguments:
    """Predict classes.

    Of a folder of images, as CSV: id, predicted class, its probability, and that of every class. Of a run of
    spatialclip: of an image (also DICOM), a folder or a JSON file, the probability, the calibrated one, the decision
    and the box that matters most. Where the output is a GeoTIFF, the source is a scene (one file, a folder with a file
    a band, or those files) and becomes a map.
    """

    run: tyro.conf.Positional[Path]
    source: tyro.conf.Positional[tuple[Path, ...]]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """file to write, .csv or .tif; default: CSV on standard output"""
    format: str = "auto"
    """CSV: reader of the images by name, or auto"""
    force: bool = False
    """overwrite the output"""
    second: tuple[Path, ...] = ()
    """map: the later scene of a pair, for change"""
    task: Literal["landcover", "segment", "change"] | None = None
    """map: which head of the run; default: the only one, or the one for change where a second scene is given"""
    sensor: str = ""
    """map: what took the scene, by name or YAML file; default: the sensor of the training data"""
    bands: tuple[str, ...] = ()
    """map: names of the bands of a file that does not say them, in its order"""
    nodata: float | None = None
    """map: value of pixels without data, where the files do not say"""
    scale: float | None = None
    """map: value that becomes reflectance 1; default: what the sensor says, 255 for 8 bit, 1 for float"""
    offset: float | None = None
    """map: added to 16-bit numbers before the scale, -1000 for Sentinel-2 of 2022 and later; default: the sensor's"""
    missing: Literal["substitute", "error"] = "substitute"
    """map: a band that the scene lacks is replaced by its substitute, with a note, or is an error"""
    statistics: Literal["run", "scene"] = "run"
    """map: scene: bring each band to the mean and deviation that the head was trained on"""
    window: int = 512
    """map: pixels a side that are in memory at once"""
    overlap: int = 64
    """map: pixels that neighbouring windows share"""
    probabilities: bool = False
    """map: write the probability of every class beside it, as NAME_probabilities.tif"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "predict")
    if not args.source:
        raise ConfigError("nothing to predict", fix="nearfar predict RUN FOLDER, or RUN scene.tif -o map.tif")
    if args.output is not None and args.output.suffix.lower() in MAPS:
        from nearfar.cli.predict_map import predict_map

        return predict_map(args)
    if args.second or args.task:
        raise ConfigError("a map needs a GeoTIFF to go to", fix="Name it: -o map.tif.")
    return _table(args)


def _table(args: Arguments) -> int:
    if len(args.source) > 1:
        raise ConfigError("several sources make no table", found=len(args.source), expected="one folder or image")
    from nearfar.evaluate.diagnosis import diagnoses
    from nearfar.train import Run

    run = Run(args.run)
    if diagnoses(run):
        from nearfar.cli.predict_study import predict_study

        return predict_study(run, args.source[0], args.output, args.force)
    out = fresh_file(args.output, args.force) if args.output else None
    from nearfar.cli.common import note
    from nearfar.evaluate.embed import embed_folder, run_embeddings
    from nearfar.train.files import write_atomically

    note(f"predicting {args.source[0]}")
    text = _csv(predict(run_embeddings(run), embed_folder(run, args.source[0], format=args.format)))
    if out is None:
        print(text, end="")
    else:
        write_atomically(out, text.encode())
        note(str(out))
    return 0


def predict(stored: Embeddings, new: Embeddings) -> list[dict[str, Any]]:
    """One row an image: id, predicted, probability, and p(CLASS) of every class.

    The probe learns from the labelled training samples of the run. Raises DataError where there are none.
    """
    from nearfar.evaluate.linear import linear_probe

    train = stored.of_split("train")
    train = train.where(train.label >= 0)
    if not len(train):
        raise DataError("the run's training data has no labels to learn classes from")
    probe = linear_probe(train.z, train.label, new.z, len(stored.classes))
    return [
        {"id": str(i), "predicted": stored.classes[p.argmax()], "probability": f"{p.max():.4f}"}
        | {f"p({name})": f"{value:.4f}" for name, value in zip(stored.classes, p, strict=True)}
        for i, p in zip(new.id, probe.probabilities, strict=True)
    ]


def _csv(rows: list[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
