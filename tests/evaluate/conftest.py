"""A run folder as training leaves it, with an encoder that nobody trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nearfar import configio
from nearfar.data.readers.modalities import Modalities
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
