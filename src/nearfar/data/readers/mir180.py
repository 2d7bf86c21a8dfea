"""Mir-180: triples of an image, its mirrored and its opposite view, from a manifest or the folders SMCL publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearfar.config import DataConfig
from nearfar.data.dataset import Record, SampleDataset
from nearfar.data.mir180 import FOLDERS, MANIFEST, Rig, build
from nearfar.data.mir180 import SPLITS as PUBLISHED
from nearfar.data.readers.base import SPLITS, Problem, Reader, Scan, image_files, root_of, subfolders
from nearfar.data.triples import WHITE, Colour, TripleDataset, TripleRecord
from nearfar.errors import DataError

KEYS = ("object", "image", "mirror", "opposite")
RUN = 10
"""triples of an object in the published folders, one after the other"""


class Mir180(Reader):
    """Mir-180: mir180.jsonl, or [CATEGORY/]{train,val,test}/{images,mirror_views,180_views}/0000.png.

    `nearfar data mir180` writes both. Groups are objects; the published folders do not name them, and their files are
    taken to be ten triples an object in order. Categories are the classes, where there are several.
    """

    name = "mir180"
    priority = 65

    def recognises(self, root: Path) -> bool:
        return _manifest_of(root) is not None or bool(_published(root))

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        manifest = _manifest_of(root)
        found = list(_from_manifest(manifest) if manifest else _from_folders(root))
        problems = [part for part in found if isinstance(part, Problem)]
        rows = [part for part in found if isinstance(part, tuple)]
        if not found:
            raise DataError(
                "there are no triples of views",
                where=root,
                expected=f"{MANIFEST} or the folders {', '.join(FOLDERS)} in {', '.join(PUBLISHED)}",
                fix="Build them with `nearfar data mir180`.",
            )
        names = sorted({category for category, _ in rows})
        classes = tuple(names) if len(names) > 1 else ()
        records = [_labelled(record, classes.index(category) if classes else -1) for category, record in rows]
        problems += _repeated(records, manifest or root)
        return Scan(
            list(records),
            classes,
            problems=problems,
            build=lambda records, config, root: _dataset(records, classes, config, root),
            look_alikes=False,
        )

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.objects import CATEGORY, generate_objects, nmr_cameras

        objects = max(3, -(-count // RUN))
        generate_objects(root, n=objects, size=size, seed=seed, shares=(objects - 2, 1, 1))
        home, cameras = root / CATEGORY, tuple(nmr_cameras(size))
        split = {n: s for s in PUBLISHED for n in (home / f"softras_{s}.lst").read_text(encoding="utf-8").split()}
        rigs = [Rig(n, tuple(image_files(home / n / "image")), cameras, CATEGORY, s) for n, s in split.items()]
        build(rigs, root)
        return root


def _manifest_of(root: Path) -> Path | None:
    path = root / MANIFEST if root.is_dir() else root
    return path if path.name == MANIFEST and path.is_file() else None


def _published(root: Path) -> list[tuple[str, str, Path]]:
    """(category, split, folder) of every part of the published layout."""
    homes = [("", root), *((folder.name, folder) for folder in subfolders(root))]
    parts = [(category, split, home / split) for category, home in homes for split in PUBLISHED]
    return [part for part in parts if all((part[2] / name).is_dir() for name in FOLDERS)]


def _from_manifest(path: Path) -> Iterator[Problem | tuple[str, TripleRecord]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError:
            yield Problem(where, "the line is not JSON", "Build the manifest again.")
            continue
        lost = [key for key in KEYS if not isinstance(row, dict) or not isinstance(row.get(key), str)]
        if lost:
            yield Problem(where, f"the line lacks {', '.join(lost)}", f"Every line needs the texts {', '.join(KEYS)}.")
            continue
        yield from _of_row(row, path.parent, where)


def _of_row(row: Mapping[str, Any], home: Path, where: str) -> Iterator[Problem | tuple[str, TripleRecord]]:
    category, split, negative = str(row.get("category") or ""), row.get("split"), row.get("negative")
    background = row.get("background", WHITE)
    if split is not None and split not in SPLITS:
        yield Problem(where, f"unknown split {split!r}", f"Use {', '.join(PUBLISHED)}, or leave it out.")
    elif negative not in (None, True, False) or row.get("flip", False) not in (True, False):
        yield Problem(where, "negative and flip are true or false", "Build the manifest again.")
    elif not _is_colour(background):
        yield Problem(where, f"the background is no colour (found {background})", "Give red, green, blue in 0..1.")
    else:
        group = "/".join(filter(None, (category, row["object"])))
        yield (
            category,
            TripleRecord(
                id=f"{group}/{Path(row['image']).stem}",
                paths=tuple(home / row[key] for key in KEYS[1:]),
                group=group,
                split=None if split is None else SPLITS[split],
                negative=negative,
                flip=row.get("flip", False),
                background=_colour(background),
            ),
        )
        absent = [row[key] for key in KEYS[1:] if not (home / row[key]).is_file()]
        if absent:
            yield Problem(home / absent[0], f"the image of line {where} does not exist", "Copy it, or build again.")


def _is_colour(values: Any) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)
    )


def _colour(values: Sequence[float]) -> Colour:
    red, green, blue = map(float, values)
    return red, green, blue


def _from_folders(root: Path) -> Iterator[Problem | tuple[str, TripleRecord]]:
    for category, split, folder in _published(root):
        views = [{path.stem: path for path in image_files(folder / name, deep=False)} for name in FOLDERS]
        for number, stem in enumerate(sorted(set().union(*views))):
            lost = [name for name, files in zip(FOLDERS, views, strict=True) if stem not in files]
            if lost:
                what = f"{stem} is not in {' and '.join(lost)}"
                yield Problem(folder, what, "The three folders hold files of the same names.")
                continue
            home = "/".join(filter(None, (category, split)))
            record = TripleRecord(
                id=f"{home}/{stem}",
                paths=tuple(files[stem] for files in views),
                group=f"{home}/{number // RUN}",
                split=split,
            )
            yield category, record


def _labelled(record: TripleRecord, label: int) -> TripleRecord:
    return replace(record, label=label)


def _repeated(records: Sequence[TripleRecord], where: Path) -> Iterator[Problem]:
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            yield Problem(where, f"two triples are called {record.id}", "Give each object its own name.")
        seen.add(record.id)


def _dataset(records: Sequence[Record], classes: Sequence[str], config: DataConfig, root: Path) -> SampleDataset:
    triples = [record for record in records if isinstance(record, TripleRecord)]
    return TripleDataset(triples, classes, root, size=config.size, scale=config.scale)
