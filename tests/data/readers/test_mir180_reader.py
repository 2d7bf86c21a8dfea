"""The reader of Mir-180: manifest and published folders, objects kept together, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.check import check
from nearfar.data.mir180 import MANIFEST, Rig, build
from nearfar.data.readers import READERS, find_reader
from nearfar.data.readers.base import image_files
from nearfar.data.synthetic.objects import generate_objects, nmr_cameras
from nearfar.errors import DataError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_objects(tmp_path_factory.mktemp("mir180") / "objects", n=6, size=16)


def _rigs(world: Path, splits: list[str | None], category: str = "") -> list[Rig]:
    cameras = tuple(nmr_cameras(16))
    homes = [world / "objects" / f"object{k:04d}" for k in range(len(splits))]
    views = [tuple(image_files(home / "image")) for home in homes]
    return [Rig(h.name, v, cameras, category, s) for h, v, s in zip(homes, views, splits, strict=True)]


def _rewrite(path: Path, number: int, **changes: Any) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number] |= changes
    path.write_text("\n".join(json.dumps(row) for row in rows))


def test_objects_are_never_parted(world: Path, tmp_path: Path) -> None:
    build(_rigs(world, [None] * 6), tmp_path)
    parts = [open_dataset(DataConfig(root=tmp_path, size=16), split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [40, 10, 10]
    groups = [set(part.groups) for part in parts]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 6
    assert parts[0].classes == ()
    sample = parts[0][0]
    assert (sample["label"], sample["group"], bool(sample["negative"])) == (-1, sample["id"].split("/")[0], True)


def test_splits_of_the_lists_are_kept_and_categories_are_classes(world: Path, tmp_path: Path) -> None:
    rigs = _rigs(world, ["train", "train", "test"], "lamp") + _rigs(world, ["train", "val", "test"], "chair")
    build(rigs, tmp_path)
    config = DataConfig(root=tmp_path / MANIFEST, size=16)  # the file itself is a root, too
    test = open_dataset(config, "test")
    assert set(test.groups) == {"lamp/object0002", "chair/object0002"}
    assert test.classes == ("chair", "lamp")
    assert {(int(label), group.split("/")[0]) for label, group in zip(test.labels, test.groups, strict=True)} == {
        (0, "chair"),
        (1, "lamp"),
    }


def test_the_published_folders_are_read_as_the_manifest_says(world: Path, tmp_path: Path) -> None:
    build(_rigs(world, ["train", "train", "val", "test"], "chair"), tmp_path, published=True)
    told = open_dataset(DataConfig(root=tmp_path, size=16))
    (tmp_path / MANIFEST).unlink()
    assert find_reader("auto", tmp_path).name == "mir180"
    found = open_dataset(DataConfig(root=tmp_path, size=16))
    one = open_dataset(DataConfig(root=tmp_path / "chair", size=16))
    by_path = {record.paths[0]: i for i, record in enumerate(told.records)}
    for i, record in enumerate(found.records):
        for key in ("image", "mirror", "opposite", "negative"):
            same = told[by_path[record.paths[0]]]
            assert torch.equal(found[i][key], same[key])  # type: ignore[literal-required]
        assert record.split == told.records[by_path[record.paths[0]]].split
    assert len(one) == len(found) == 40
    assert sorted(set(found.groups)) == ["chair/test/0", "chair/train/0", "chair/train/1", "chair/val/0"]
    assert check(DataConfig(root=tmp_path)) == []
    (tmp_path / "chair/train/180_views/0003.png").unlink()
    (problem,) = check(DataConfig(root=tmp_path))
    assert "0003 is not in 180_views" in problem.what


def test_flip_and_background_are_the_manifests(world: Path, tmp_path: Path) -> None:
    for flip in (False, True):
        build(_rigs(world, [None] * 3), tmp_path / str(flip), flip=flip)
    plain, flipped = (open_dataset(DataConfig(root=tmp_path / str(flip), size=16)) for flip in (False, True))
    assert torch.equal(flipped[4]["mirror"], plain[4]["mirror"].flip(-1))
    assert torch.equal(flipped[4]["mirror"], flipped[4]["image"])
    _rewrite(tmp_path / "False" / MANIFEST, 4, background=[0.0, 0.5, 1])
    again = open_dataset(DataConfig(root=tmp_path / "False", size=16))
    assert again.records[4].background == (0.0, 0.5, 1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mirror": 3}, "lacks mirror"),
        ({"split": "trian"}, "unknown split 'trian'"),
        ({"negative": "yes"}, "true or false"),
        ({"flip": 2}, "true or false"),
        ({"background": [1, 2]}, "no colour"),
        ({"background": [0, 0, 9]}, "no colour"),
        ({"opposite": "lost.png"}, "does not exist"),
        ({"image": "../objects/object0000/image/0001.png"}, "two triples are called object0000/0001"),
    ],
)
def test_bad_lines_are_named(world: Path, tmp_path: Path, change: dict[str, Any], text: str) -> None:
    root = tmp_path / "copy"
    shutil.copytree(world / "objects", tmp_path / "objects")
    build(_rigs(tmp_path, [None] * 3), root)
    _rewrite(root / MANIFEST, 5, **change)
    told = [problem for problem in check(DataConfig(root=root)) if problem.fatal]
    assert any(text in problem.what for problem in told)
    with pytest.raises(DataError, match=text):
        open_dataset(DataConfig(root=root))


def test_lines_that_are_no_json_and_empty_manifests(world: Path, tmp_path: Path) -> None:
    build(_rigs(world, [None] * 3), tmp_path)
    with (tmp_path / MANIFEST).open("a") as file:
        file.write("\n{broken\n[1]\n")
    told = [f"{problem.path}: {problem.what}" for problem in check(DataConfig(root=tmp_path))]
    assert any(":32: the line is not JSON" in line for line in told)
    assert any(":33: the line lacks object" in line for line in told)
    (tmp_path / MANIFEST).write_text("")
    with pytest.raises(DataError, match="no triples of views"):
        READERS["mir180"].scan(DataConfig(root=tmp_path))
