"""A study's samples: letterboxed image, its boxes, its caption, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar.data import Key, collate, make_loader
from nearfar.data.study import MODALITIES, OBJECT_CLASSES, StudyDataset, StudyRecord, study_channels
from nearfar.data.study_images import difference_hash, header, letterboxed
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.letterbox import MIDDLE_GREY


def _record(path: Path, **fields: object) -> StudyRecord:
    image = Image.open(path)
    known = {
        "id": path.name,
        "paths": (path,),
        "label": 1,
        "group": "p1",
        "patient": "p1",
        "caption": "axial head view",
        "boxes": ((10.0, 20.0, 110.0, 90.0), (160.0, 128.0, 320.0, 256.0)),
        "object_labels": (0, 9),
        "confidences": (0.9, 0.4),
        "shape": image.size[::-1],
        "grey": image.mode == "L",
        "attributes": {"center": "C0", "parity": "2"},
    }
    return StudyRecord(**(known | fields))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.zeros((256, 320), np.uint8)
    pixels[128:, 160:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_sample_has_all_three(picture: Path) -> None:
    data = StudyDataset([_record(picture)], root=picture.parent, size=64, max_objects=4)
    sample = data[Key(0, 7)]
    assert (sample["text"], sample["label"], sample["group"], sample["seed"]) == ("axial head view", 1, "p1", 7)
    assert data.classes[sample["label"]] == "standard"
    assert sample["image"].shape == (1, 64, 64)
    assert sample["objects"].shape == (4, 5) and sample["objects"].dtype == torch.float32
    assert sample["object_labels"].tolist() == [0, 9, -1, -1]
    assert not sample["objects"][2:].any()
    assert sample["present"].tolist() == [True] * len(MODALITIES)


def test_boxes_lie_where_the_pixels_do(picture: Path) -> None:
    """The bright quarter of the image is the second box: its canvas cells are bright, the rest dark or grey."""
    data = StudyDataset([_record(picture)], size=320)
    x, y, w, h = (data[0]["objects"][1, :4] * 320).round().int().tolist()
    image = data[0]["image"][0]
    assert image[y : y + h, x : x + w].min() > 0.99
    assert (w, h) == (160, 128)
    assert image[y - 2, x + 5] < 0.01
    assert image[0, 0] == pytest.approx(MIDDLE_GREY)


def test_boxes_and_letterbox_in_pixels(picture: Path) -> None:
    data = StudyDataset([_record(picture)], size=224)
    assert data.boxes(0).tolist() == [[10, 20, 110, 90], [160, 128, 320, 256]]
    placed = data[0]["objects"][:2, :4].double().numpy()
    np.testing.assert_allclose(data.letterbox(0).inverse(placed), data.boxes(0), atol=1e-4)
    assert data.raw(0)["image"].shape == (256, 320, 1)


def test_captions_and_table(picture: Path) -> None:
    other = _record(picture, id="b", caption="", attributes={"view": "nt"})
    data = StudyDataset([_record(picture), other], size=16)
    assert data.captions == ("axial head view", "")
    assert data.table["center"] == ("C0", "") and data.table["view"] == ("", "nt") and data.table["parity"] == ("2", "")
    assert data.table["gestational_age"] == ("", "")
    part = data.subset([1])
    assert part.table["view"] == ("nt",) and part.patients == ("p1",) and part.max_objects == data.max_objects


def test_missing_modalities_are_visible(picture: Path) -> None:
    record = _record(picture, paths=(), caption="", boxes=(), object_labels=(), confidences=())
    data = StudyDataset([replace(record, present=(False, False, True))], size=16)
    sample = data[0]
    assert sample["present"].tolist() == [False, False, True]
    assert (sample["image"] == sample["image"][0, 0, 0]).all()
    assert (sample["object_labels"] == -1).all()
    with pytest.raises(DataError, match="no image"):
        data.raw(0)


def test_grey_stays_grey_and_colour_is_brought_to_it(picture: Path) -> None:
    colour = picture.with_name("c.png")
    Image.new("RGB", (320, 256), (255, 0, 0)).save(colour)
    grey = StudyDataset([_record(picture)], size=16)
    mixed = StudyDataset([_record(picture), _record(colour)], size=16)
    assert (len(grey.channels), len(mixed.channels)) == (1, 3)
    assert mixed.channels == study_channels(3) and list(mixed.channels.modalities) == ["image"]
    assert torch.equal(mixed[0]["image"][2], grey[0]["image"][0])
    dark = StudyDataset(mixed.records, size=16, channels=1)[1]["image"]
    assert dark.shape == (1, 16, 16) and dark[0, 8, 8] == pytest.approx(0.299, abs=1e-3)
    with pytest.raises(ConfigError, match="1 or 3"):
        StudyDataset(mixed.records, channels=2)


def test_depth_is_kept(tmp_path: Path) -> None:
    """16-bit, float and 8-bit files of the same picture give the same canvas."""
    ramp = np.tile(np.linspace(0, 1, 40), (30, 1))
    Image.fromarray((ramp * 255).round().astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray((ramp * 65535).round().astype(np.uint16)).save(tmp_path / "16.png")
    np.save(tmp_path / "f.npy", ramp.astype(np.float32))
    canvases = [letterboxed(tmp_path / name, 32, 1) for name in ("8.png", "16.png", "f.npy")]
    assert torch.allclose(canvases[0], canvases[2], atol=5e-3)
    assert torch.allclose(canvases[1], canvases[2], atol=1e-4)
    assert canvases[1].unique().numel() > 32


def test_an_image_turned_by_its_tag_fits_its_boxes(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[274] = 6
    Image.new("L", (40, 20), 200).save(tmp_path / "t.jpg", exif=tag)
    known = header(tmp_path / "t.jpg")
    assert (known.width, known.height) == (20, 40)
    assert letterboxed(tmp_path / "t.jpg", 16, 1, shape=(40, 20)).shape == (1, 16, 16)


def test_batches_and_caches(picture: Path) -> None:
    data = StudyDataset(
        [_record(picture), _record(picture, id="b", boxes=(), object_labels=(), confidences=())], size=8
    )
    batch = collate([data[0], data[1]])
    assert batch["objects"].shape == (2, 32, 5) and batch["present"].shape == (2, 3)
    assert batch["text"] == ["axial head view"] * 2
    assert len(list(make_loader(data, batch_size=1))) == 2
    data[0]["image"].zero_()
    assert data[0]["image"].any()  # a sample is the caller's own


@pytest.mark.parametrize("damage", ["truncated", "missing", "resized"])
def test_a_bad_image_is_named(picture: Path, damage: str) -> None:
    data = StudyDataset([_record(picture)], size=16)
    if damage == "truncated":
        picture.write_bytes(picture.read_bytes()[:100])
    elif damage == "missing":
        picture.unlink()
    else:
        Image.new("L", (10, 10)).save(picture)
    with pytest.raises(DataError, match=r"a\.png"):
        data[0]


def test_the_difference_hash_sees_content_not_exposure() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (64, 72, 1)).astype(np.uint8)
    own = difference_hash(image)
    assert set(np.unique(own)) <= {-1.0, 1.0} and own.shape == (64,)
    assert own @ difference_hash((image + 30).astype(np.uint8)) >= 58
    assert own @ difference_hash(rng.integers(0, 200, (64, 72, 1)).astype(np.uint8)) < 40


def test_the_published_label_map() -> None:
    assert len(OBJECT_CLASSES) == 14 and OBJECT_CLASSES[0] == "CB" and OBJECT_CLASSES[13] == "UNKNOWN"
