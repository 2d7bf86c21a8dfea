"""A manifest of pairs: one ordered pair of objects a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearfar.config import DataConfig
from nearfar.data.pairing import no_pairs, pair_scan
from nearfar.data.pairs import PairRecord, Region
from nearfar.data.readers.base import SPLITS, Problem, Reader, Scan, root_of
from nearfar.data.regions import Runs
from nearfar.data.tables import json_lines
from nearfar.errors import DataError, did_you_mean

NAME, PREDICATES = "pairs.jsonl", "predicates.txt"
SHAPES = ("mask", "rle", "polygon", "box")


class Pairs(Reader):
    """pairs.jsonl: image, subject and object (mask, polygon, rle or box, and name), [predicate, split, group, id].

    Paths are relative to the file. `predicates.txt` beside it, one a line, gives the predicates and their order, so
    that a typing error is found; without it they are those that occur, sorted.
    """

    name = "pairs"
    priority = 45

    def recognises(self, root: Path) -> bool:
        table = _table_of(root)
        if table is None:
            return False
        with table.open(encoding="utf-8", errors="replace") as file:
            start = file.readline(4096)
        return '"subject"' in start and '"object"' in start

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        table = _table_of(root)
        if table is None:
            raise DataError("there is no list of pairs", where=root, expected=NAME, fix="Write one pair a line.")
        rows = _rows(table)
        found = pair_scan(config, _predicates(table, [row for _, row in rows]))
        seen: dict[str, int] = {}
        for line, row in rows:
            record = _record(found, f"{table}:{line}", table.parent, line, row)
            if record is None:
                continue
            if record.id in seen:
                what = f"the id {record.id!r} is already on line {seen[record.id]}"
                found.problems.append(Problem(f"{table}:{line}", what, "Remove one, or give them an id each."))
            seen[record.id] = line
            found.records.append(record)
        if not rows:
            found.problems.append(no_pairs(table))
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.relations import generate

        return generate(root, n=max(count // 3, 8), size=max(size, 48), seed=seed)


def _table_of(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() == ".jsonl" else None
    return root / NAME if (root / NAME).is_file() else None


def _rows(table: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        return list(json_lines(table))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "the list of pairs cannot be read", where=table, found=str(error), fix="Save it as UTF-8."
        ) from None


def _predicates(table: Path, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    path = table.parent / PREDICATES
    if path.is_file():
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return tuple(sorted({str(row["predicate"]) for row in rows if row.get("predicate")}))


def _record(found: Scan, where: str, folder: Path, line: int, row: Mapping[str, Any]) -> PairRecord | None:
    def report(what: str, fix: str) -> None:
        found.problems.append(Problem(where, what, fix))

    def class_of(key: str) -> int:
        name = str(row.get(key) or "")
        if name and name not in found.classes:
            fix = did_you_mean(name, found.classes, f"Add it to {PREDICATES}.", quote="'")
            report(f"unknown {key} {name!r}", fix)
        return found.classes.index(name) if name in found.classes else -1

    before = len(found.problems)
    image = folder / str(row.get("image") or "")
    if not image.is_file():
        report(f"the image {row.get('image')!r} does not exist", f"Paths are relative to {folder}.")
    split = str(row.get("split") or "")
    if split and split not in SPLITS:
        report(f"unknown split {split!r}", "Use train, val or test.")
    regions = [_region(row.get(role), folder) for role in ("subject", "object")]
    for role, region in zip(("subject", "object"), regions, strict=True):
        if isinstance(region, str):
            report(f"the {role} is not an object's place: {region}", f"Give one of {', '.join(SHAPES)}, and a name.")
    label, true_label = class_of("predicate"), class_of("true_predicate")
    subject, target = regions
    if isinstance(subject, str) or isinstance(target, str) or len(found.problems) > before:
        return None
    name = image.relative_to(folder).as_posix()
    return PairRecord(
        id=str(row.get("id") or f"{name}#{line}"),
        paths=(image,),
        label=label,
        group=str(row.get("group") or name),
        split=SPLITS.get(split),
        true_label=true_label,
        subject=subject,
        object=target,
    )


def _region(value: Any, folder: Path) -> Region | str:
    """The region that a row describes, or what is wrong with it."""
    if not isinstance(value, dict):
        return f"found {value!r}"
    given = [key for key in SHAPES if key in value]
    if len(given) != 1:
        return f"found {' and '.join(given) or 'no shape'}"
    try:
        region = _SHAPE_OF[given[0]](value, folder)
        if region.mask is not None and not region.mask.is_file():
            return f"the mask {value['mask']!r} does not exist"
        if region.mask is None:
            region.bounds()
    except DataError as error:
        return f"{error.what}, found {error.found}"
    except (TypeError, ValueError, KeyError, IndexError):
        return f"found {given[0]} {str(value[given[0]])[:40]}"
    return replace(region, name=str(value.get("name") or ""))


def _mask(value: Mapping[str, Any], folder: Path) -> Region:
    number = value.get("value")
    return Region(mask=folder / value["mask"], value=None if number is None else int(number))


def _rle(value: Mapping[str, Any], folder: Path) -> Region:
    counts, (height, width) = value["rle"]["counts"], value["rle"]["size"]
    return Region(runs=Runs(counts if isinstance(counts, str) else tuple(counts), int(height), int(width)))


def _polygon(value: Mapping[str, Any], folder: Path) -> Region:
    parts = value["polygon"] if isinstance(value["polygon"][0], list) else [value["polygon"]]
    return Region(polygons=tuple(tuple(float(v) for v in part) for part in parts))


def _box(value: Mapping[str, Any], folder: Path) -> Region:
    x0, y0, x1, y1 = (float(v) for v in value["box"])
    return Region(box=(x0, y0, x1, y1))


_SHAPE_OF = {"mask": _mask, "rle": _rle, "polygon": _polygon, "box": _box}
