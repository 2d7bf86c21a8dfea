"""Pairs of objects: the crop, the masks in it, and what is said of bad ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar.data import Key, make_loader
from nearfar.data.pairs import PairDataset, PairRecord, Region, read_rgb
from nearfar.errors import ConfigError, DataError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """60 x 40, blue, with a red block at columns 10-20, rows 5-15 and a green one at columns 30-50, rows 25-35."""
    pixels = np.full((40, 60, 3), (0, 0, 200), np.uint8)
    pixels[5:15, 10:20], pixels[25:35, 30:50] = (250, 0, 0), (0, 250, 0)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.fixture
def record(image: Path) -> PairRecord:
    return PairRecord(
        id="p",
        paths=(image,),
        label=1,
        group="image",
        subject=Region(box=(10, 5, 20, 15), name="red"),
        object=Region(polygons=((30, 25, 50, 25, 50, 35, 30, 35),), name="green"),
    )


def test_the_crop_is_the_union_with_its_longer_side_brought_to_size(record: PairRecord) -> None:
    dataset = PairDataset([record], ("under", "above"), size=40, mask_size=40)
    frame = dataset.frame(0)
    assert (frame.left, frame.top, frame.side, frame.box) == (10, 0, 40, (10, 5, 50, 35))
    sample = dataset[0]
    red = torch.zeros(40, 40)
    red[5:15, 0:10] = 1
    torch.testing.assert_close(sample["masks"][0], red)
    torch.testing.assert_close(sample["image"][0], red * 250 / 255 + (sample["image"][0] * (red == 0)))
    torch.testing.assert_close(sample["boxes"], torch.tensor([[0, 5, 10, 15], [20, 25, 40, 35]]) / 40)
    assert (sample["label"], sample["names"], sample["image_index"]) == (1, ("red", "green"), 0)


def test_the_letterbox_has_the_mean_colour_of_the_crops_edge(record: PairRecord) -> None:
    image = PairDataset([record], size=40)[0]["image"]
    edge = np.concatenate([image[:, 5].numpy(), image[:, 34].numpy(), image[:, 5:35, 0], image[:, 5:35, 39]], axis=1)
    for rows in (image[:, :5], image[:, 35:]):
        assert rows.flatten(1).std(1).max() == 0
        np.testing.assert_allclose(rows[:, 0, 0], edge.mean(1), atol=0.5 / 255)


def test_masks_are_area_averages(record: PairRecord) -> None:
    fine = PairDataset([record], mask_size=40)[0]["masks"]
    coarse = PairDataset([record], mask_size=12)[0]["masks"]
    torch.testing.assert_close(coarse.sum((1, 2)) * (40 / 12) ** 2, fine.sum((1, 2)))
    assert 0 < coarse[coarse > 0].min() < 1


@pytest.mark.parametrize("extra", ["masks", "boxes"])
def test_masks_or_boxes_can_follow_the_colours(record: PairRecord, extra: str) -> None:
    dataset = PairDataset([record], size=32, mask_size=32, modalities=("rgb", extra))
    assert dataset.channels.names[3:] == (f"{extra}.subject", f"{extra}.object")
    sample = dataset[0]
    assert sample["image"].shape == (5, 32, 32)
    torch.testing.assert_close(sample["image"][3:], sample["masks"])  # these two objects fill their boxes
    assert list(dataset.raw(0)) == ["rgb", extra]


def test_an_outline_fills_less_than_its_box(record: PairRecord) -> None:
    triangle = replace(record, object=Region(polygons=((30, 25, 50, 25, 40, 35),)))
    dataset = PairDataset([triangle], size=32, mask_size=32, modalities=("rgb", "masks", "boxes"))
    masks, boxes = dataset[0]["image"][3:5], dataset[0]["image"][5:]
    assert masks[1].sum() == pytest.approx(float(boxes[1].sum()) / 2, rel=1e-3)


def test_a_batch_keeps_names_and_counts_images(record: PairRecord) -> None:
    pairs = [replace(record, id=str(k)) for k in range(4)]
    batch = next(iter(make_loader(PairDataset(pairs), batch_size=4)))
    assert batch["names"] == [("red", "green")] * 4
    assert batch["masks"].shape == (4, 2, 64, 64)
    assert batch["image_index"].tolist() == [0] * 4


def test_a_subset_keeps_everything_but_the_others(record: PairRecord) -> None:
    pairs = [replace(record, id=str(k), label=k % 2) for k in range(4)]
    dataset = PairDataset(pairs, ("a", "b"), size=24, mask_size=12, modalities=("rgb", "boxes"), predicates=("x",))
    part = dataset.subset([3, 1])
    assert (part.ids, part.classes, part.predicates, part.channels) == (
        ("3", "1"),
        ("a", "b"),
        ("x",),
        dataset.channels,
    )
    whole, one = dataset[Key(3, 7)], part[Key(0, 7)]
    assert all(torch.equal(whole[key], one[key]) for key in ("image", "masks", "boxes"))
    assert one["index"] == 0


def test_reading_twice_changes_nothing(record: PairRecord) -> None:
    dataset = PairDataset([record])
    dataset[0]["masks"].zero_()
    dataset[0]["image"].zero_()
    assert dataset[0]["masks"].sum() > 0 < dataset[0]["image"].sum()
    torch.testing.assert_close(PairDataset([record], cache_bytes=0)[0]["masks"], dataset[0]["masks"])


def test_modalities_begin_with_rgb(record: PairRecord) -> None:
    for wrong in (("masks",), ("rgb", "depth"), ("rgb", "masks", "masks")):
        with pytest.raises(ConfigError, match="modalities"):
            PairDataset([record], modalities=wrong)


@pytest.mark.parametrize("region", [Region(box=(70, 5, 90, 15)), Region(polygons=((-9, 0, -1, 0, -1, 9),))])
def test_an_object_outside_the_image_is_named(record: PairRecord, region: Region) -> None:
    with pytest.raises(DataError, match=r"pair p, subject .*outside the image.*60 x 40"):
        PairDataset([replace(record, subject=region)])[0]


def test_an_object_that_reaches_beyond_the_image_is_cut_off(record: PairRecord) -> None:
    sample = PairDataset([replace(record, object=Region(box=(30, 25, 80, 55)))], mask_size=50)[0]
    assert sample["boxes"].max() <= 1
    assert sample["masks"][1].sum() == 30 * 15


def test_an_empty_mask_is_named(record: PairRecord, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"pair p, object .*empty\.png.*empty"):
        PairDataset([replace(record, object=Region(mask=tmp_path / "empty.png"))])[0]


def test_a_mask_of_another_size_is_named(record: PairRecord, tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"differ in size.*30 x 20.*60 x 40"):
        PairDataset([replace(record, object=Region(mask=tmp_path / "small.png"))])[0]


def test_a_corrupt_image_is_named(record: PairRecord, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:50])
    with pytest.raises(DataError, match=r"image\.png"):
        PairDataset([record])[0]


def test_grey_images_are_repeated_and_alpha_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((8, 8, 4), 9, np.uint8)).save(tmp_path / "rgba.png")
    grey = read_rgb(tmp_path / "grey.png")
    assert grey.shape == read_rgb(tmp_path / "rgba.png").shape == (8, 8, 3)
    assert (grey[..., 0] == grey[..., 2]).all()


def test_exif_rotation_follows_the_annotations(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_rgb(tmp_path / "turned.jpg").shape == (30, 20, 3)
    assert read_rgb(tmp_path / "turned.jpg", (30, 20)).shape == (30, 20, 3)
    assert read_rgb(tmp_path / "turned.jpg", (20, 30)).shape == (20, 30, 3)
    with pytest.raises(DataError, match="another size"):
        read_rgb(tmp_path / "turned.jpg", (10, 30))
