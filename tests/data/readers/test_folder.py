"""A folder a class, with and without splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nearfar.config import DataConfig
from nearfar.data.readers import READERS, find_reader
from nearfar.data.readers.base import SPLITS
from nearfar.data.synthetic import tiny
from nearfar.errors import DataError

FOLDER = READERS["folder"]


def _image(path: Path, number: int = 0) -> Path:
    tiny.save(path, list(tiny.items(number + 1, 8))[number].rgb)
    return path


def test_classes_are_the_folders_at_any_depth(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/deep/er/2.png", "a/1.JPG", "a/.hidden.png", "a/notes.txt", "__MACOSX/x.png"):
        path = tmp_path / name
        if path.suffix == ".txt":
            path.write_text("not an image")
        else:
            _image(path)
    scan = FOLDER.scan(DataConfig(root=tmp_path))
    assert scan.classes == ("a", "b")
    assert [(r.id, r.label) for r in scan.records] == [("a/1.JPG", 0), ("a/deep/er/2.png", 0), ("b/1.png", 1)]
    assert scan.problems == []


@pytest.mark.parametrize("name", SPLITS)
def test_names_of_splits(tmp_path: Path, name: str) -> None:
    _image(tmp_path / "train" / "a" / "1.png")
    _image(tmp_path / name / "b" / "2.png", 1)
    scan = FOLDER.scan(DataConfig(root=tmp_path))
    assert scan.classes == ("a", "b")
    assert {r.id: r.split for r in scan.records} == {"train/a/1.png": "train", f"{name}/b/2.png": SPLITS[name]}


def test_a_class_named_test_is_no_split(tmp_path: Path) -> None:
    for name in ("test", "other"):
        _image(tmp_path / name / "1.png")
    scan = FOLDER.scan(DataConfig(root=tmp_path))
    assert scan.classes == ("other", "test")
    assert {r.split for r in scan.records} == {None}


def test_images_without_class_are_unlabelled(tmp_path: Path) -> None:
    _image(tmp_path / "1.png")
    scan = FOLDER.scan(DataConfig(root=tmp_path))
    assert [(r.label, scan.problems) for r in scan.records] == [(-1, [])]
    _image(tmp_path / "a" / "1.png")
    scan = FOLDER.scan(DataConfig(root=tmp_path))
    assert [r.label for r in scan.records] == [-1, 0]
    assert "beside the class folders" in scan.problems[0].what


def test_what_lies_beside_splits_is_told(tmp_path: Path) -> None:
    for name in ("train/a", "val/a", "extra/a"):
        _image(tmp_path / name / "1.png")
    (problem,) = FOLDER.scan(DataConfig(root=tmp_path)).problems
    assert problem.path == tmp_path / "extra"
    assert not problem.fatal


def test_empty_class_is_no_class(tmp_path: Path) -> None:
    _image(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    scan = FOLDER.scan(DataConfig(root=tmp_path))
    assert scan.classes == ("a",)
    assert scan.problems[0].path == tmp_path / "b"


def test_links_that_lead_back_up_are_followed_once(tmp_path: Path) -> None:
    _image(tmp_path / "data" / "a" / "1.png")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    _image(tmp_path / "elsewhere" / "2.png")
    scan = FOLDER.scan(DataConfig(root=tmp_path / "data"))
    assert [r.id for r in scan.records] == ["a/1.png", "b/2.png"]


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=f"{tmp_path.name}: the folder may not be read"):
        FOLDER.scan(DataConfig(root=tmp_path))


def test_several_classes_in_training_are_not_mvtec(tmp_path: Path) -> None:
    for name in ("train/good", "train/bad", "test/good"):
        _image(tmp_path / name / "1.png")
    assert find_reader("auto", tmp_path) is FOLDER
    shutil.rmtree(tmp_path / "train" / "bad")
    assert find_reader("auto", tmp_path) is READERS["mvtec"]
