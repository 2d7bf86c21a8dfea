"""Samples of three views: transparent images, grey ones, flips, negatives decided while reading, bad files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar.data import Key, make_loader
from nearfar.data.triples import TripleDataset, TripleRecord, counts, read_view
from nearfar.errors import ConfigError, DataError


def _save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, ...]:
    rng = np.random.default_rng(0)
    return tuple(_save(tmp_path / f"{name}.png", rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)) for name in "amo")


def test_a_sample_has_its_three_views(paths: tuple[Path, ...]) -> None:
    records = [TripleRecord("a", paths, group="g", negative=k == 0, flip=k == 1) for k in range(2)]
    dataset = TripleDataset(records, size=8)
    plain, flipped = dataset[Key(0, 5)], dataset[1]
    for key, path in zip(("image", "mirror", "opposite"), paths, strict=True):
        expected = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255
        assert torch.equal(plain[key], expected)  # type: ignore[literal-required]
    assert torch.equal(flipped["mirror"], plain["mirror"].flip(-1))
    assert torch.equal(flipped["image"], plain["image"])
    assert (plain["seed"], plain["group"]) == (5, "g")
    assert (bool(plain["negative"]), bool(flipped["negative"])) == (True, False)
    (batch,) = make_loader(dataset, batch_size=2, sampler="sequential")
    assert batch["negative"].tolist() == [True, False]
    assert batch["negative"].dtype == torch.bool
    assert batch["opposite"].shape == (2, 3, 8, 8)


def test_views_are_brought_to_one_size_and_given_out_as_copies(paths: tuple[Path, ...]) -> None:
    dataset = TripleDataset([TripleRecord("a", paths)], size=4)
    sample = dataset[0]
    assert sample["mirror"].shape == (3, 4, 4)
    sample["mirror"].zero_()
    assert dataset[0]["mirror"].any()
    assert dataset.subset([0, 0])[1]["index"] == 1
    assert dataset.raw(0)["rgb"].shape == (8, 8, 3)


def test_transparent_images_lie_on_their_background(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1] = (200, 100, 0, 255), (200, 100, 0, 51)
    path = _save(tmp_path / "a.png", pixels)
    assert read_view(path)[0].tolist() == [[200, 100, 0], [244, 224, 204]]
    assert read_view(path, (0.0, 0.0, 0.0))[0].tolist() == [[200, 100, 0], [40, 20, 0]]
    assert read_view(path, (0.0, 1.0, 0.0))[1, 1].tolist() == [0, 255, 0]
    np.save(tmp_path / "b.npy", np.dstack([np.full((2, 2), 0.5), np.full((2, 2), 0.25)]).astype(np.float32))
    assert np.allclose(read_view(tmp_path / "b.npy"), 0.875)
    grey = _save(tmp_path / "c.png", np.full((2, 3), 7, dtype=np.uint8))
    assert read_view(grey).tolist() == np.full((2, 3, 3), 7).tolist()
    np.save(tmp_path / "d.npy", np.zeros((6, 6, 5), dtype=np.float32))
    with pytest.raises(DataError, match="not a colour image"):
        read_view(tmp_path / "d.npy")


def test_negatives_that_nobody_decided_are_decided_from_the_images(paths: tuple[Path, ...]) -> None:
    mirrored = paths[0].with_name("flip.png")
    _save(mirrored, np.ascontiguousarray(np.asarray(Image.open(paths[0]))[:, ::-1]))
    symmetric = TripleRecord("a", (paths[0], mirrored, paths[0]))
    other = replace(symmetric, paths=(paths[0], mirrored, paths[2]))
    dataset = TripleDataset([symmetric, other], size=8)
    assert [bool(dataset[i]["negative"]) for i in range(2)] == [False, True]


def test_the_rules() -> None:
    rng = np.random.default_rng(0)
    image, other = rng.random((2, 3, 6, 6))
    mirror = image[..., ::-1]
    assert counts(image, mirror, other)
    assert not counts(image, mirror, image)
    assert not counts(image, mirror, image + 0.01 * other)
    assert counts(image, mirror, image + 0.01 * other, alike=0.0)
    assert not counts(image, other, image + 0.3 * other, alike=0.0)  # nearer than the flipped mirrored view
    assert counts(image, image + 0.01 * other, other, rule="plain")
    assert not counts(image, 1 - image, image + 0.3 * other, rule="plain")
    assert counts(image, mirror, image, rule="none")
    flat = np.zeros((3, 4, 4))
    assert not counts(flat, flat, flat)
    with pytest.raises(ConfigError, match=r"unknown rule 'flip'"):
        counts(image, mirror, other, rule="flip")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="6 x 6, 6 x 6, 4 x 4"):
        counts(image, mirror, flat)


def test_a_missing_view_is_named(paths: tuple[Path, ...]) -> None:
    paths[2].unlink()
    with pytest.raises(DataError, match=r"o\.png: the image does not exist"):
        TripleDataset([TripleRecord("a", paths)])[0]
