"""What can be predicted for: images, folders, JSON files, with parts missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data.study_rows import load_rows
from nearfar.data.study_sheets import read_classes
from nearfar.errors import ConfigError, DataError

BOX = {"label": "CB", "bbox": [10, 20, 110, 90], "confidence": 0.9}
SMALL = DataConfig(size=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("L", (320, 256), ord(name)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def _json(folder: Path, rows: Any) -> Path:
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


def test_images_alone(folder: Path) -> None:
    one = load_rows(folder / "images" / "a.png", SMALL)
    assert one[0]["present"].tolist() == [True, False, False] and one[0]["label"] == -1 and one.ids == ("a.png",)
    assert load_rows(folder / "images", SMALL).ids == ("a.png", "b.png")
    both = load_rows([folder / "images" / "a.png", str(folder / "images" / "b.png")], SMALL)
    assert both.ids == ("a.png", "b.png")


def test_a_file_with_parts_missing(folder: Path) -> None:
    rows = [
        {"image_path": "images/a.png", "description": "head", "class_label": "standard", "coordinates": [BOX]},
        {"image_path": "images/b.png", "coordinates": []},
        {"description": "", "sample_id": "text"},
        {"coordinates": [BOX], "width": 320, "height": 256},
    ]
    data = load_rows(_json(folder, rows), SMALL)
    present = [data[i]["present"].tolist() for i in range(4)]
    assert present == [[True] * 3, [True, False, True], [False, True, False], [False, False, True]]
    assert data.ids == ("images/a.png", "images/b.png", "text", "sample3")
    assert data[3]["objects"][0].tolist() == data[0]["objects"][0].tolist()
    assert data.labels.tolist() == [1, -1, -1, -1]


def test_one_row_or_rows_in_memory(folder: Path) -> None:
    row = {"image_path": "images/a.png", "description": "head"}
    for source in (_json(folder, row), row, [row]):
        data = load_rows(source, SMALL, image_root=folder)
        assert data.captions == ("head",) and len(data[0]["image"]) == 1
    assert len(load_rows(row, SMALL, image_root=folder, channels=3)[0]["image"]) == 3


def test_strict_rows_must_be_whole(folder: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.json\[0\]\.description: E_MISSING_FIELD.* There are 2 more errors"):
        load_rows(_json(folder, [{"image_path": "images/a.png"}]), SMALL, missing_ok=False)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image_path": "images/nope.png"}, "E_IMAGE_NOT_FOUND"),
        ({"image_path": "images/a.png", "coordinates": [BOX | {"bbox": [0, 0, float("nan"), 1]}]}, "E_BBOX_NOT_FINITE"),
        ({"image_path": "images/a.png", "coordinates": [BOX | {"label": "CP"}]}, "Did you mean 'CP"),
        ({"coordinates": [BOX]}, "there are boxes and no image"),
    ],
)
def test_bad_rows(row: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises(DataError, match=words):
        load_rows(_json(folder, [row]), SMALL)


def test_other_sources(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        load_rows(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        load_rows(tmp_path / "nope.json")
    (tmp_path / "text.json").write_text("{not JSON")
    with pytest.raises(DataError, match=r"text\.json:1"):
        load_rows(tmp_path / "text.json")


def test_the_most_confident_are_kept_in_their_order(folder: Path) -> None:
    boxes = [BOX | {"bbox": [i, 0, 100, 50], "confidence": c} for i, c in enumerate((0.2, 0.9, 0.1, 0.5))]
    data = load_rows({"image_path": "images/a.png", "coordinates": boxes}, DataConfig(size=16, max_objects=2),
                     image_root=folder)  # fmt: skip
    assert data.boxes(0)[:, 0].tolist() == [1, 3]
    assert data[0]["objects"].shape == (2, 5)
    with pytest.raises(ConfigError, match="at least one object"):
        load_rows(folder / "images" / "a.png", DataConfig(max_objects=0))


def test_boxes_are_cut_to_the_image(folder: Path) -> None:
    row = {"image_path": "images/a.png", "coordinates": [BOX | {"bbox": [-20, 10, 400, 90]}]}
    data = load_rows(row, DataConfig(size=320), image_root=folder)
    assert data.boxes(0).tolist() == [[0, 10, 320, 90]]
    assert data[0]["objects"][0, [0, 2]].tolist() == [0, 1]


@pytest.mark.parametrize("text", ["[HEART, LUNG]", '{"LUNG": 1, "HEART": 0}'])
def test_a_label_map_of_ones_own(text: str, folder: Path) -> None:
    (folder / "map.yaml").write_text(text)
    assert read_classes(folder / "map.yaml") == ("HEART", "LUNG")
    boxes = [BOX | {"label": name} for name in ("LUNG", "SPLEEN")]
    row = {"image_path": "images/a.png", "coordinates": boxes}
    config = DataConfig(size=16, labels=folder / "map.yaml", on_unknown="map")
    data = load_rows(row, config, image_root=folder)
    assert data.object_classes == ("HEART", "LUNG", "UNKNOWN")
    assert data[0]["object_labels"][:3].tolist() == [1, 2, -1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{HEART: 0, LUNG: 2}", "gaps"),
        ("[A, A]", "different names"),
        ("[NO, YES]", "Quote them"),
        ("7", "no list"),
        ("[", "cannot be read"),
    ],
)
def test_bad_label_maps(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(DataError, match=words):
        read_classes(tmp_path / "map.yaml")


def test_images_outside_the_folder_do_not_put_it_into_their_ids(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    rows = [{"image_path": "../images/a.png"}, {"image_path": str(folder / "images" / "a.png")}]
    assert load_rows(_json(tmp_path / "tables", rows), SMALL).ids == ("a.png", "a.png#2")
