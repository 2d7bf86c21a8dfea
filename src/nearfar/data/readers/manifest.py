"""A table with one row a sample, CSV or JSON lines."""

from __future__ import annotations

import csv
from pathlib import Path

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.readers.base import SPLITS, Problem, Reader, Scan, root_of
from nearfar.data.synthetic import tiny
from nearfar.data.tables import Row, class_names, need_columns, read_table
from nearfar.errors import DataError, did_you_mean

NAMES = ("manifest.csv", "manifest.jsonl")
RESERVED = ("path", "label", "split", "group", "mask", "id", "true_label")


class Manifest(Reader):
    """A CSV or JSONL with the columns path (or one a modality), label, [split, group, mask, id, true_label].

    Paths are relative to the table. An empty label is unknown. The root is the table, or a folder with manifest.csv or
    manifest.jsonl.
    """

    name = "manifest"
    priority = 20

    def recognises(self, root: Path) -> bool:
        return _table_of(root) is not None

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        table = _table_of(root)
        if table is None:
            raise DataError(
                "there is no manifest", where=root, expected=" or ".join(NAMES), fix="Write one row a sample."
            )
        rows = read_table(table)
        need_columns(table, rows, ())
        columns = _path_columns(config, table, rows)
        need_columns(table, rows, columns)
        grouping = config.group if config.group and config.group in rows[0][1] else "group"
        classes = class_names(row.get("label", "") for _, row in rows)
        modalities = ("",) if columns == ("path",) else columns
        found = Scan([], classes, modalities, grouped=config.group == grouping)
        seen: dict[str, int] = {}
        for line, row in rows:
            record = _record(found, f"{table}:{line}", table.parent, row, columns, grouping)
            if record.id in seen:
                what = f"the id {record.id!r} is already on line {seen[record.id]}"
                found.problems.append(Problem(f"{table}:{line}", what, "Remove one, or give them an id each."))
            seen[record.id] = line
            found.records.append(record)
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        with (root / NAMES[0]).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label", "group"))
            for number, item in enumerate(tiny.items(count, size, seed)):
                tiny.save(root / "images" / f"{item.id}.png", item.rgb)
                writer.writerow((f"images/{item.id}.png", item.class_name, f"g{number // 2}"))
        return root


def _table_of(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in (".csv", ".jsonl") else None
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def _path_columns(config: DataConfig, table: Path, rows: list[Row]) -> tuple[str, ...]:
    if config.modalities:
        return config.modalities
    first = rows[0][1]
    if "path" in first:
        return ("path",)
    found = tuple(c for c, v in first.items() if c not in RESERVED and v and (table.parent / v).is_file())
    return found or ("path",)


def _record(found: Scan, where: str, folder: Path, row: dict[str, str], columns: tuple[str, ...], group: str) -> Record:
    def report(what: str, fix: str) -> None:
        found.problems.append(Problem(where, what, fix))

    def path_in(column: str) -> Path:
        path = folder / row.get(column, "")
        if not row.get(column):
            report(f"the row has no {column}", "Fill it in, or remove the row.")
        elif not path.is_file():
            report(f"the file {row[column]!r} of column {column} does not exist", f"Paths are relative to {folder}.")
        return path

    def class_in(column: str) -> int:
        name = row.get(column, "")
        if name and name not in found.classes:
            report(f"the {column} {name!r} is not among the labels", f"Known are {', '.join(found.classes)}.")
        return found.classes.index(name) if name in found.classes else -1

    split = row.get("split", "")
    if split and split not in SPLITS:
        report(f"unknown split {split!r}", did_you_mean(split, SPLITS, "Use train, val or test."))
    return Record(
        id=row.get("id") or row.get(columns[0], ""),
        paths=tuple(path_in(column) for column in columns),
        label=class_in("label"),
        group=row.get(group, ""),
        split=SPLITS.get(split),
        mask=path_in("mask") if row.get("mask") else None,
        true_label=class_in("true_label"),
    )
