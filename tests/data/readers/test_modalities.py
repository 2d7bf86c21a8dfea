"""Sibling folders: pairing, tables, truth kept aside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.readers import READERS, find_reader
from nearfar.data.synthetic import tiny
from nearfar.errors import ConfigError, DataError

MODALITIES = READERS["modalities"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return MODALITIES.write_example(tmp_path / "data")


def test_channels_and_depths(root: Path) -> None:
    dataset = open_dataset(DataConfig(root=root, size=16))
    assert dataset.channels.names == ("rgb.r", "rgb.g", "rgb.b", "thermal", "depth")
    raw = dataset.raw(0)
    assert (raw["thermal"].dtype.name, raw["depth"].shape) == ("uint16", (8, 8, 1))
    image = dataset[0]["image"]
    torch.testing.assert_close(image[3], torch.from_numpy(raw["thermal"][..., 0].astype("float32")) / 65535)
    assert image[4].mean() == pytest.approx(raw["depth"].mean() / 65535, rel=1e-2)


def test_chosen_modalities_in_the_order_given(root: Path) -> None:
    dataset = open_dataset(DataConfig(root=root, modalities=("depth", "rgb")))
    assert list(dataset.channels.modalities) == ["depth", "rgb"]
    with pytest.raises(DataError, match="Did you mean thermal"):
        open_dataset(DataConfig(root=root, modalities=("termal",)))


def test_truth_feeds_only_true_label_and_mask(root: Path) -> None:
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("s0001,disc", "s0001,bar"))
    dataset = open_dataset(DataConfig(root=root, size=16))
    sample = dataset[1]
    assert [dataset.classes[sample[key]] for key in ("label", "true_label")] == ["bar", "disc"]
    assert sample["mask"].any()
    assert not dataset[0]["mask"].any()
    shutil.rmtree(root / "truth")
    assert {"mask", "true_label"}.isdisjoint(open_dataset(DataConfig(root=root))[1])


def test_splits_and_groups_of_the_table(root: Path) -> None:
    lines = [f"s{i:04d},{'bar' if i % 2 else ''},{('train', 'val', 'test')[i % 3]},g{i}" for i in range(24)]
    (root / "labels.csv").write_text("\n".join(["id,label,split,group", *lines]))
    records = MODALITIES.scan(DataConfig(root=root)).records
    assert [(r.label, r.split, r.group) for r in records[:3]] == [
        (-1, "train", "g0"),
        (0, "val", "g1"),
        (-1, "test", "g2"),
    ]


def test_class_folders_without_a_table(tmp_path: Path) -> None:
    for item in tiny.items(6, 12):
        for modality, image in (("thermal", item.thermal), ("rgb", item.rgb)):
            tiny.save(tmp_path / modality / item.class_name / f"{item.id}.png", image)
    assert find_reader("auto", tmp_path) is MODALITIES
    scan = MODALITIES.scan(DataConfig(root=tmp_path))
    assert scan.classes == ("bar", "disc", "good")
    assert scan.modalities == ("rgb", "thermal")
    assert scan.records[0].id == "bar/s0002"


def test_a_table_may_name_bare_stems_in_class_folders(root: Path) -> None:
    for modality in ("rgb", "thermal", "depth"):
        (root / modality / "sub").mkdir()
        (root / modality / "s0001.png").rename(root / modality / "sub" / "s0001.png")
    scan = MODALITIES.scan(DataConfig(root=root))
    record = next(r for r in scan.records if r.id == "sub/s0001")
    assert (scan.classes[record.label], record.mask.name) == ("disc", "s0001.png")
    assert scan.problems == []


def test_missing_pair_names_the_modality(root: Path) -> None:
    (root / "depth" / "s0003.png").unlink()
    with pytest.raises(DataError, match=r"rgb/s0003\.png: the sample has no image in depth"):
        open_dataset(DataConfig(root=root))


def test_two_files_of_one_stem_are_ambiguous(root: Path) -> None:
    shutil.copy(root / "rgb" / "s0003.png", root / "rgb" / "s0003.bmp")
    with pytest.raises(DataError, match="several files of one name"):
        open_dataset(DataConfig(root=root))


def test_rows_and_images_that_lack_each_other_are_told(root: Path) -> None:
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("s0003,", "s9999,"))
    problems = MODALITIES.scan(DataConfig(root=root)).problems
    assert [p.what for p in problems] == ["there is no image of 's9999'", "there is no row for 's0003'"]
    assert not any(p.fatal for p in problems)


def test_unknown_split_is_named_by_line(root: Path) -> None:
    (root / "labels.csv").write_text("id,label,split\ns0000,good,trian\n")
    with pytest.raises(DataError, match=r"labels\.csv:2: unknown split 'trian'"):
        open_dataset(DataConfig(root=root))


def test_table_without_labels(root: Path) -> None:
    (root / "labels.csv").write_text("id,class\ns0000,good\n")
    with pytest.raises(DataError, match="lacks the column label"):
        open_dataset(DataConfig(root=root))


def test_names_that_are_no_known_modalities_need_the_format(tmp_path: Path) -> None:
    for name in ("left", "right"):
        for item in tiny.items(3, 12):
            tiny.save(tmp_path / name / f"{item.id}.png", item.rgb)
    with pytest.raises(ConfigError, match=r"--data\.format modalities"):
        open_dataset(DataConfig(root=tmp_path, modalities=("left", "right")))
    dataset = open_dataset(DataConfig(root=tmp_path, format="modalities"))
    assert len(dataset.channels) == 6
    assert dataset.channels.names[0] == "left.0"
