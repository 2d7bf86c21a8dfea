"""One pass lists every problem; a good set has none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data import images
from nearfar.data.check import Problem, check
from nearfar.data.readers import READERS


@pytest.fixture
def folder(tmp_path: Path) -> DataConfig:
    return DataConfig(root=READERS["folder"].write_example(tmp_path / "data"))


@pytest.fixture
def modalities(tmp_path: Path) -> DataConfig:
    return DataConfig(root=READERS["modalities"].write_example(tmp_path / "data"))


def _about(problems: list[Problem], name: str) -> str:
    return " | ".join(p.what for p in problems if str(p.path).endswith(name))


def test_everything_wrong_with_a_folder_at_once(folder: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder.root
    (root / "bar" / "s0002.png").write_bytes(b"\x89PNG\r\n")
    Image.open(root / "bar" / "s0005.png").convert("L").save(root / "bar" / "s0005.png")
    Image.new("RGB", (16, 16), (7, 7, 7)).save(root / "disc" / "flat.png")
    (root / "nothing").mkdir()
    shutil.copy(root / "disc" / "s0001.png", root / "good" / "copy.png")
    Image.open(root / "disc" / "s0004.png").save(root / "disc" / "s0004.bmp")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(root / "good" / "nan.tif")
    shutil.copy(root / "disc" / "s0007.png", root / "stray.png")
    original = Image.open

    def refuse(path: Path, *args: object) -> Image.Image:
        if Path(path).name == "s0000.png":
            raise PermissionError(13, "Permission denied")
        return original(path, *args)

    monkeypatch.setattr(Image, "open", refuse)
    problems = check(folder)
    expected = {
        "s0002.png": "cannot be decoded",
        "s0005.png": "1 channels, most have 3",
        "flat.png": "almost constant",
        "nothing": "holds no images",
        "copy.png": "another label as disc/s0001.png",
        "s0004.bmp": "several suffixes (.bmp, .png)",
        "s0004.png": "the same image as disc/s0004.bmp",
        "nan.tif": "NaN or infinite values (found 16 of 16)",
        "stray.png": "beside the class folders",
        "s0000.png": "may not be read",
    }
    for name, text in expected.items():
        assert text in _about(problems, name), name
    assert all(p.fix.endswith(".") and not p.what.endswith(".") for p in problems)


def test_one_class(folder: DataConfig) -> None:
    for name in ("bar", "disc"):
        shutil.rmtree(folder.root / name)
    (problem,) = check(folder)
    assert "one class (good)" in problem.what
    assert not problem.fatal


def test_empty_folder(tmp_path: Path) -> None:
    (problem,) = check(DataConfig(root=tmp_path))
    assert "no reader recognises" in problem.what


def test_deeper_and_shallower_types_are_told_apart(folder: DataConfig) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (16, 16, 3)).astype(np.uint16)
    np.save(folder.root / "good" / "deep.npy", pixels)
    assert "uint16, most are uint8" in _about(check(folder), "deep.npy")


def test_type_without_scale(folder: DataConfig) -> None:
    np.save(folder.root / "good" / "odd.npy", np.random.default_rng(0).integers(0, 9, (16, 16, 3)))
    assert "no natural scale" in _about(check(folder), "odd.npy")


def test_leaks_between_splits(tmp_path: Path) -> None:
    READERS["manifest"].write_example(tmp_path)
    table = tmp_path / "manifest.csv"
    rows = table.read_text().splitlines()
    splits = ["split"] + ["train" if i % 2 else "test" for i in range(len(rows) - 1)]
    table.write_text("\n".join(f"{row},{split}" for row, split in zip(rows, splits, strict=True)))
    shutil.copy(tmp_path / "images" / "s0001.png", tmp_path / "images" / "s0004.png")
    problems = check(DataConfig(root=tmp_path))
    assert "is in test and train" in _about(problems, "g0")
    assert "the same image is in train" in _about(problems, "s0004.png")


def test_look_alikes_between_splits(tmp_path: Path) -> None:
    READERS["folder"].write_example(tmp_path / "train")
    READERS["folder"].write_example(tmp_path / "test", seed=1)
    assert check(DataConfig(root=tmp_path)) == []
    pixels = images.read(tmp_path / "train" / "bar" / "s0002.png")
    brighter = (pixels * 0.9 + 20).astype(np.uint8)
    Image.fromarray(brighter).save(tmp_path / "test" / "bar" / "again.png")
    (problem,) = check(DataConfig(root=tmp_path))
    assert Path(problem.path).name == "again.png"
    assert "looks like train/bar/s0002.png, and one is in test" in problem.what


def test_real_mvtec_is_flawless(shared_data: Path) -> None:
    assert check(DataConfig(root=shared_data / "mvtec_transistor_128")) == []


def test_class_without_training_samples(tmp_path: Path) -> None:
    READERS["folder"].write_example(tmp_path / "train")
    READERS["folder"].write_example(tmp_path / "test", seed=1)
    shutil.rmtree(tmp_path / "train" / "bar")
    assert ["'bar' has no training sample" in p.what for p in check(DataConfig(root=tmp_path))] == [True]


def test_modalities(modalities: DataConfig) -> None:
    root = modalities.root
    (root / "thermal" / "s0003.png").unlink()
    Image.open(root / "depth" / "s0005.png").save(root / "depth" / "s0005.tif")
    Image.new("L", (5, 5), 255).save(root / "truth" / "masks" / "s0007.png")
    with (root / "labels.csv").open("a") as file:
        file.write("s0099,good,g9\ns0001,bar,g1\n")
    with (root / "truth" / "labels.csv").open("a") as file:
        file.write("s0002,lava,\n")
    problems = check(modalities)
    assert "no image in thermal" in _about(problems, "s0003.png")
    assert "several files of one name (s0005.png, s0005.tif)" in _about(problems, "s0005.png")
    assert "the mask is 5 x 5 and its image s0007.png 16 x 16" in _about(problems, "masks/s0007.png")
    assert "no image of 's0099'" in _about(problems, "labels.csv:26")
    assert "'s0001' is already on line 3" in _about(problems, "labels.csv:27")
    assert "'lava' is not among the labels" in _about(problems, "truth/labels.csv:26")


def test_broken_mask(modalities: DataConfig) -> None:
    path = modalities.root / "truth" / "masks" / "s0001.png"
    path.write_bytes(b"")
    assert "cannot be decoded" in _about(check(modalities), "masks/s0001.png")


def test_sliver_of_sixteen_bits_is_not_constant(modalities: DataConfig) -> None:
    path = modalities.root / "thermal" / "s0001.png"
    pixels = images.read(path)[..., 0]
    Image.fromarray((29315 + pixels % 3).astype(np.uint16)).save(path)
    assert check(modalities) == []
    Image.fromarray(np.full_like(pixels, 29315)).save(path)
    assert "almost constant" in _about(check(modalities), "thermal/s0001.png")


def test_every_file_is_read_once(folder: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    original = images.read
    monkeypatch.setattr(images, "read", lambda path: reads.append(path) or original(path))
    check(replace(folder, format="folder"))
    assert len(reads) == len(set(reads)) == 24
