"""`nearfar search RUN IMAGE`, or `--sketch A B`: what of a run's data is nearest to an image or to two drawn blobs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nearfar.cli.common import fresh_file, parse, result, table
from nearfar.errors import ConfigError, DataError

if TYPE_CHECKING:
    from nearfar.evaluate.sketch import Hit, Sketch
    from nearfar.train import Run


@dataclass
class Arguments:
    """Search the data of a run by image (a folder searches for every image in it), or by two drawn blobs."""

    run: tyro.conf.Positional[Path]
    query: tyro.conf.Positional[Path | None] = None
    sketch: tuple[Path, Path] | None = None
    """drawings of subject and object, each alone on the same canvas; for runs of C-SIP"""
    k: int = 10
    """neighbours a query"""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """picture of the sketch, its banner and the pairs found"""
    force: bool = False
    """overwrite that picture"""
    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "search")
    if (args.query is None) == (args.sketch is None):
        found = "neither" if args.query is None else "both"
        raise ConfigError("search by an image or by --sketch A B", found=found)
    if args.k < 1:
        raise ConfigError("k must be at least 1", where="--k", found=args.k)
    from nearfar.train import Run

    run = Run(args.run)
    return _by_image(run, args, args.query) if args.query is not None else _by_sketch(run, args)


def _by_image(run: Run, args: Arguments, query: Path) -> int:
    from nearfar.evaluate.embed import embed_folder, run_embeddings
    from nearfar.evaluate.knn import neighbours

    if args.out is not None:
        raise ConfigError("-o draws what a sketch finds", where="-o", fix="Give --sketch A B, or leave out -o.")
    stored, queries = run_embeddings(run), embed_folder(run, query)
    similarity, position = neighbours(queries.z, stored.z, args.k)
    names = ["" if label < 0 else stored.classes[label] for label in stored.label]
    hits = [
        {"query": str(query), "rank": rank + 1, "id": str(stored.id[p]), "label": names[p], "similarity": float(s)}
        for query, row, scores in zip(queries.id, position, similarity, strict=True)
        for rank, (p, s) in enumerate(zip(row, scores, strict=True))
    ]
    head = ["query", "rank", "id", "label", "similarity"]
    rows = [[h["query"], str(h["rank"]), h["id"], h["label"], f"{h['similarity']:.4f}"] for h in hits]
    result(hits, args.json, table([head, *rows]))
    return 0


def _by_sketch(run: Run, args: Arguments) -> int:
    from nearfar.evaluate.sketch import describe, read_sketch, search_sketch

    assert args.sketch is not None
    missing = [path for path in args.sketch if not path.is_file()]
    if missing:
        raise DataError("there is no such drawing", where=missing[0])
    out = fresh_file(args.out, args.force) if args.out is not None else None
    sketch = read_sketch(run, *args.sketch)
    hits = search_sketch(run, sketch, args.k)
    found = describe(hits)
    keys = ("rank", "id", "subject", "label", "object", "similarity")
    rows = [[f"{hit[key]:.4f}" if key == "similarity" else str(hit[key]) for key in keys] for hit in found]
    text = table([["rank", "pair", "subject", "relation", "object", "similarity"], *rows])
    if out is not None:
        _draw(run, sketch, hits, out)
        text += f"\npicture  {out}"
    result(found, args.json, text)
    return 0


def _draw(run: Run, sketch: Sketch, hits: list[Hit], path: Path) -> None:
    import numpy as np

    from nearfar.evaluate.pair_data import banner_settings, pictures_of
    from nearfar.report.banner_figures import Drawn, found_figure

    settings = banner_settings(run)
    canvas = np.full((*sketch.masks.shape[1:], 3), 245, np.uint8)
    drawn = Drawn(canvas, sketch.masks, sketch.banner, "sketch: blue to orange")
    shown = []
    for hit in hits:
        pictures, masks = pictures_of(hit.data, [hit.index])
        label = int(hit.data.labels[hit.index])
        name = hit.data.classes[label] if label >= 0 else ""
        shown.append((pictures[0], masks[0], f"{name}\n{hit.similarity:.2f}".strip()))
    found_figure(drawn, settings.row_forces(), shown, path, symmetric=settings.symmetric)
