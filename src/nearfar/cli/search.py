"""`nearfar search RUN IMAGE`: the images of a run's data that are nearest to an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from nearfar.cli.common import parse, result, table


@dataclass
class Arguments:
    """Search the data of a run by image; a folder searches for every image in it."""

    run: tyro.conf.Positional[Path]
    query: tyro.conf.Positional[Path]
    k: int = 10
    """neighbours a query"""
    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "search")
    from nearfar.evaluate.embed import embed_folder, run_embeddings
    from nearfar.evaluate.knn import neighbours
    from nearfar.train import Run

    run = Run(args.run)
    stored, queries = run_embeddings(run), embed_folder(run, args.query)
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
