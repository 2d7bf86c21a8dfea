"""The spills world: what is written, how often, and that it is the same every time."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.data.synthetic import spills
from nearfar.errors import ConfigError

N = 96


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spills.generate(tmp_path_factory.mktemp("world") / "spills", n=N, size=48, seed=5)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(world: Path, folder: str) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in sorted((world / folder).glob("*.png"))}


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    first, again, other = (
        bytes_of(spills.generate(tmp_path / name, n=24, size=16, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert first.keys() == other.keys()
    assert sum(first[name] != other[name] for name in first) > 60


def test_files_are_registered_and_in_their_units(world: Path) -> None:
    ids = {row["id"] for row in table(world / "labels.csv")}
    assert len(ids) == N
    kinds = {"rgb": (np.uint8, (48, 48, 3)), "thermal": (np.uint16, (48, 48)), "depth": (np.uint16, (48, 48))}
    for folder, (dtype, shape) in kinds.items():
        images = pixels(world, folder)
        assert set(images) == ids
        assert all(image.dtype == dtype and image.shape == shape for image in images.values())
    kelvin = np.stack(list(pixels(world, "thermal").values())) / 100
    assert 280 < kelvin.min() < kelvin.max() < 315
    metres = np.stack(list(pixels(world, "depth").values())) / 1000
    assert 0.003 < (metres == 0).mean() < 0.1
    assert 1 < np.median(metres) < 3


def test_classes_have_their_shares(world: Path) -> None:
    labels = [row["label"] for row in table(world / "truth/labels.csv")]
    assert [labels.count(name) for name in spills.CLASSES] == [N - 17 - 12, 17, 12]


def test_label_tables_have_the_documented_fields(world: Path) -> None:
    given, truth = table(world / "labels.csv"), table(world / "truth/labels.csv")
    assert list(given[0]) == ["id", "label", "split", "group"]
    assert list(truth[0])[:5] == ["id", "label", "ambiguity", "contrast", "area"]
    assert {"occluded", "glare", "floor"} < set(truth[0])
    assert [row["id"] for row in given] == [row["id"] for row in truth]
    assert {row["floor"] for row in truth} == {"tiles", "wood", "concrete", "carpet"}


def test_a_room_is_in_one_split_and_has_one_floor(world: Path) -> None:
    given = table(world / "labels.csv")
    floors = {row["id"]: row["floor"] for row in table(world / "truth/labels.csv")}
    places = {(row["group"], row["split"], floors[row["id"]]) for row in given}
    assert len(places) == len({row["group"] for row in given}) == N // spills.FRAMES_PER_ROOM
    assert {split for _, split, _ in places} == {"train", "val", "test"}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_exactly_the_asked_share_of_training_labels_is_wrong(tmp_path: Path, share: float) -> None:
    root = spills.generate(tmp_path / "w", n=N, size=16, label_noise=share)
    truth = {row["id"]: row["label"] for row in table(root / "truth/labels.csv")}
    for split, expected in (("train", share), ("val", share), ("test", 0.0)):
        rows = [row for row in table(root / "labels.csv") if row["split"] == split]
        assert sum(row["label"] != truth[row["id"]] for row in rows) == round(expected * len(rows))


def test_masks_show_liquid_where_the_class_says_so(world: Path) -> None:
    masks = pixels(world, "truth/masks")
    for row in table(world / "truth/labels.csv"):
        mask = masks[row["id"]]
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).any() == (row["label"] != "clean")
        assert float(row["area"]) == pytest.approx((mask > 0).mean(), abs=1e-4)


def test_the_temperature_inside_the_mask_has_the_sign_of_the_class(world: Path) -> None:
    masks, thermal = pixels(world, "truth/masks"), pixels(world, "thermal")
    right = []
    for row in table(world / "truth/labels.csv"):
        if row["label"] == "clean" or float(row["ambiguity"]) > 0.3:
            continue
        inside = masks[row["id"]] > 0
        ring = np.zeros_like(inside)
        rows, columns = np.nonzero(inside)
        ring[max(rows.min() - 4, 0) : rows.max() + 5, max(columns.min() - 4, 0) : columns.max() + 5] = True
        step = thermal[row["id"]][inside].mean() - np.median(thermal[row["id"]][ring & ~inside])
        right.append((step > 0) == (row["label"] == "warm"))
    assert len(right) > 10
    assert np.mean(right) > 0.9


def test_clean_floors_have_hot_and_cold_spots_too(world: Path) -> None:
    thermal = pixels(world, "thermal")
    clean = [row["id"] for row in table(world / "truth/labels.csv") if row["label"] == "clean"]
    spread = [np.ptp(np.percentile(thermal[name], (2, 98))) / 100 for name in clean]
    assert np.mean(np.array(spread) > 1.5) > 0.3


def test_a_failed_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(spills, "_save", broken)
    with pytest.raises(OSError, match="disk full"):
        spills.generate(tmp_path / "w", n=24, size=16)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="not empty"):
        spills.generate(tmp_path, n=24, size=16)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("name", "value"), [("n", 4), ("size", 8), ("label_noise", 1.5), ("shares", (0.5, 0.5, 0.5)), ("shares", (1, 0, 0))]
)
def test_bad_arguments_are_named(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        spills.generate(tmp_path / "w", **{name: value})  # type: ignore[arg-type]
