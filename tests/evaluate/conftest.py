"""A run folder as training leaves it, with an encoder that nobody trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import configio
from nearfar.data.dataset import Record
from nearfar.data.readers.modalities import Modalities
from nearfar.data.sample import Channels
from nearfar.data.scenes import Kind, SceneSet, Source, scenes_of
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import save_encoder
from nearfar.train.run import Run


def write_run(path: Path, data: Path, encoder: str = "nano_cnn", seed: int = 0) -> Run:
    """A run on the data with a random encoder of that name."""
    overrides = {
        "data.root": data,
        "data.size": 16,
        "encoder.name": encoder,
        "encoder.size": 16,
        "eval.bootstrap": 50,
        "eval.k": 5,
        "data.splits": (0.6, 0.1, 0.3),
    }
    run = Run(path)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(configio.dump(configio.load("supcon", None, overrides)), encoding="utf-8")
    torch.manual_seed(seed)
    channels = run.dataset("train").channels
    ones = torch.ones(len(channels))
    save_encoder(ImageEncoder(run.config.encoder, channels, ones / 2, ones / 4), path / "encoder.safetensors")
    return run


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 scenes of three classes in three modalities, with masks and every sixth label wrong."""
    root = Modalities().write_example(tmp_path_factory.mktemp("data") / "scenes", count=72, size=16)
    head, *lines = (root / "labels.csv").read_text(encoding="utf-8").splitlines()
    turned = {"good": "disc", "disc": "bar", "bar": "good"}
    rows = [line.split(",") for line in lines]
    wrong = [[i, turned[label] if n % 6 == 1 else label, *rest] for n, (i, label, *rest) in enumerate(rows)]
    (root / "labels.csv").write_text("\n".join([head, *map(",".join, wrong)]) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def make_run(tmp_path: Path, scenes: Path) -> Callable[..., Run]:
    """Runs on `scenes`: `make_run(name, encoder="nano_cnn", seed=0)`."""
    return lambda name="run", **options: write_run(tmp_path / name, scenes, **options)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    """A run on `scenes` with a convolutional network."""
    return make_run()


class MemorySource(Source):
    """Scenes in memory: two bands, in which class 1 is bright in the second band of the last date."""

    channels = Channels.of({"s2": ["B02", "B08"]})
    sensor = "sentinel2_l2a"
    colours = ((10, 20, 30), (200, 30, 40))
    gsd = 10.0

    def __init__(self, kind: Kind, dates: int, sizes: dict[str, tuple[int, int]]) -> None:
        self.kind: Kind = kind
        self.classes = ("unchanged", "changed") if kind == "change" else ("background", "crop")
        self.scenes = {
            name: self._draw(np.random.default_rng(i), dates, s) for i, (name, s) in enumerate(sizes.items())
        }

    @staticmethod
    def _draw(rng: np.random.Generator, dates: int, size: tuple[int, int]) -> tuple[Any, Any, Any]:
        target = np.zeros(size, np.int64)
        for _ in range(3):
            row, col = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 12)
            target[row : row + 12, col : col + 12] = 1
        pixels = rng.normal(0.2, 0.02, (dates, 2, *size)).astype(np.float32)
        pixels[-1, 1] += 0.3 * target
        valid = np.ones((dates, *size), bool)
        valid[:, :3, :3] = False
        pixels[:, :, :3, :3] = -99
        target[-2:] = 255
        return pixels, valid, target

    def shape(self, record: Record) -> tuple[int, int]:
        rows, cols = self.scenes[record.id][2].shape
        return rows, cols

    def days(self, record: Record) -> tuple[int, ...]:
        return tuple(range(len(self.scenes[record.id][0])))

    def pixels(self, record: Record, rows: slice, cols: slice) -> tuple[Any, Any]:
        pixels, valid, _ = self.scenes[record.id]
        return pixels[..., rows, cols], valid[:, rows, cols]

    def target(self, record: Record, rows: slice, cols: slice) -> Any:
        return self.scenes[record.id][2][rows, cols]


def memory_scenes(kind: Kind, dates: int, val: bool = True) -> SceneSet:
    """Four scenes for training, one for validation, two of odd sizes for testing."""
    sizes = {f"train{i}": (40, 40) for i in range(4)} | {"test0": (45, 50), "test1": (41, 64)}
    sizes |= {"val0": (40, 56)} if val else {}
    records = [Record(name, (), split=name[:-1]) for name in sizes]
    return scenes_of(records, MemorySource(kind, dates, sizes))


def write_band_run(path: Path, encoder: str = "nano_cnn", size: int = 32) -> Run:
    """A run with an untrained encoder of the bands B08 and B02, in this order, and no data of its own."""
    options = {"width": 8, "depth": 1} if encoder == "nano_cnn" else {}
    overrides = {"data.root": path / "none", "encoder.name": encoder, "encoder.size": size, "eval.bootstrap": 50}
    run = Run(path)
    path.mkdir(parents=True)
    config = configio.load("simclr", None, {**overrides, "encoder.options": options})
    (path / "config.yaml").write_text(configio.dump(config), encoding="utf-8")
    torch.manual_seed(0)
    channels = Channels.of({"s2": ["B08", "B02"]})
    made = ImageEncoder(run.config.encoder, channels, torch.full((2,), 0.2), torch.full((2,), 0.1))
    save_encoder(made, path / "encoder.safetensors")
    return run


@pytest.fixture
def labelled() -> Callable[..., SceneSet]:
    """`memory_scenes`: labelled(kind, dates, val=True)."""
    return memory_scenes


@pytest.fixture
def make_band_run(tmp_path: Path) -> Callable[..., Run]:
    """`write_band_run` by name: make_band_run(name, encoder="nano_cnn", size=32)."""
    return lambda name="band_run", **options: write_band_run(tmp_path / name, **options)


@pytest.fixture
def band_run(tmp_path: Path) -> Run:
    """See `write_band_run`."""
    return write_band_run(tmp_path / "band_run")
