"""`nearfar predict RUN FOLDER`: class probabilities of new images, by the linear probe on the run's embeddings."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nearfar.cli.common import fresh_file, note, parse
from nearfar.errors import DataError

if TYPE_CHECKING:
    from nearfar.evaluate.embeddings import Embeddings


@dataclass
class Arguments:
    """Predict classes as CSV: id, predicted class, its probability, and the probability of every class."""

    run: tyro.conf.Positional[Path]
    folder: tyro.conf.Positional[Path]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """CSV file to write; default: standard output"""
    format: str = "auto"
    """reader by name, or auto"""
    force: bool = False
    """overwrite the output"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "predict")
    out = fresh_file(args.output, args.force) if args.output else None
    from nearfar.evaluate.embed import embed_folder, run_embeddings
    from nearfar.train import Run

    run = Run(args.run)
    note(f"predicting {args.folder}")
    rows = predict(run_embeddings(run), embed_folder(run, args.folder, format=args.format))
    if out is None:
        _write(rows, sys.stdout)
    else:
        with out.open("w", newline="", encoding="utf-8") as file:
            _write(rows, file)
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


def _write(rows: list[dict[str, Any]], file: Any) -> None:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
