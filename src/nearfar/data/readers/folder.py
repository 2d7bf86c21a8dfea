"""One folder a class, with or without folders of splits above them."""

from __future__ import annotations

from pathlib import Path

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.readers.base import (
    SPLITS,
    Problem,
    Reader,
    Scan,
    duplicate_stems,
    holds_images,
    image_files,
    no_images,
    root_of,
    subfolders,
)
from nearfar.data.synthetic import tiny


class Folder(Reader):
    """ROOT/CLASS/**/image, or ROOT/{train,val,test}/CLASS/**/image; images outside a class folder are unlabelled."""

    name = "folder"

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and holds_images(root)

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        parts: list[tuple[Path, str | None]] = [(p, SPLITS[p.name]) for p in subfolders(root) if p.name in SPLITS]
        parts = parts if any(split == "train" for _, split in parts) else [(root, None)]
        classes = tuple(sorted({c.name for part, _ in parts for c in subfolders(part) if holds_images(c)}))
        found = Scan([], classes)
        if parts[0][1] is not None:
            found.problems += _beside_splits(root, {part for part, _ in parts})
        for part, split in parts:
            _scan_part(found, root, part, split)
        if not found.records:
            found.problems.append(no_images(root))
        for same in duplicate_stems(r.paths[0] for r in found.records):
            what = f"the same name with several suffixes ({', '.join(p.suffix for p in same)})"
            found.problems.append(Problem(same[0], what, "Keep one of them.", fatal=False))
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        for item in tiny.items(count, size, seed):
            tiny.save(root / item.class_name / f"{item.id}.png", item.rgb)
        return root


def _scan_part(found: Scan, root: Path, part: Path, split: str | None) -> None:
    for path in image_files(part, deep=False):
        found.records.append(Record(path.relative_to(root).as_posix(), (path,), split=split))
        if found.classes:
            fix = "Move it into one; it is read as unlabelled."
            found.problems.append(Problem(path, "the image lies beside the class folders", fix, fatal=False))
    for folder in subfolders(part):
        paths = image_files(folder)
        if not paths:
            found.problems.append(
                Problem(folder, "the class folder holds no images", "Remove it or fill it.", fatal=False)
            )
        label = found.classes.index(folder.name) if paths else -1
        found.records += [Record(p.relative_to(root).as_posix(), (p,), label, split=split) for p in paths]


def _beside_splits(root: Path, parts: set[Path]) -> list[Problem]:
    strays = [p for p in subfolders(root) if p not in parts and holds_images(p)]
    what = "the folder lies beside train, val and test, and is not read"
    return [Problem(p, what, "Move it into one of them, or away.", fatal=False) for p in strays]
