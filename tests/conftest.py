"""Fixtures shared by all tests: threads, seeds, and the material that lives beside the checkout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("NEARFAR_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _beside(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"{name} is not beside this checkout (set NEARFAR_SHARED to its folder)")
    return path


@pytest.fixture
def golden_dir() -> Path:
    """Numbers from independent derivations, one folder a method."""
    return _beside("golden")


@pytest.fixture
def shared_data() -> Path:
    """Real images for tests; never committed."""
    return _beside("data")


def write_study(root: Path, patients: int = 60, seed: int = 0) -> Path:
    """A study in `root`: train, val, test, prospective and external_C1 of two frames a patient, 24 x 20 pixels.

    Standard images are bright, their captions say so and their NT box is large; one in six is of the other kind.
    """
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    shares = {"train": 0.4, "val": 0.2, "test": 0.2, "prospective": 0.1, "external_C1": 0.1}
    first = 0
    for name, share in shares.items():
        count = round(share * patients)
        rows = [_study_row(root, name, p, frame, rng) for p in range(first, first + count) for frame in range(2)]
        (root / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        first += count
    return root


def _study_row(root: Path, name: str, patient: int, frame: int, rng: np.random.Generator) -> dict[str, Any]:
    standard = bool(rng.random() < 0.5)
    seen = standard if rng.random() < 5 / 6 else not standard
    sample = f"p{patient:03d}-{frame}"
    pixels = rng.normal(150 if seen else 90, 20, (20, 24)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(root / "images" / f"{sample}.png")
    side = 12 if seen else 5
    boxes = [{"label": "NT", "bbox": [2, 2, 2 + side, 2 + side], "confidence": 0.9}]
    boxes += [{"label": "CRL", "bbox": [4, 6, 20, 18], "confidence": 0.6}] if rng.random() < 0.6 else []
    return {
        "sample_id": sample,
        "patient_id": f"P{patient:03d}",
        "image_path": f"images/{sample}.png",
        "description": f"{'clear' if seen else 'poor'} {('head', 'nt')[frame]} view",
        "class_label": "standard" if standard else "non-standard",
        "coordinates": boxes,
        "view": ("head", "nt")[frame],
        "center": "C1" if name == "external_C1" else "C0",
        "device": f"D{patient % 2}",
        "gestational_age": round(float(rng.uniform(11, 14)), 2),
        "acquisition_date": "2025-03-01",
    }


STUDY_SETTINGS = {
    "data.size": 24, "data.max_objects": 4, "encoder.name": "nano_cnn", "encoder.size": 24,
    "encoder.options": {"width": 8, "depth": 1}, "method.dim": 8, "method.projection": (8,), "method.box_dim": 8,
    "method.box_heads": 2, "method.text.dim": 8, "method.text.heads": 2, "method.text.layers": 1,
    "method.text.vocabulary": 32, "method.text.length": 12, "eval.bootstrap": 40, "eval.subgroup_minimum": 5,
}  # fmt: skip


def write_study_run(path: Path, study: Path, preset: str = "spatialclip", **settings: Any) -> Any:
    """A run on a study, whose method learned for 25 steps from the training images."""
    from nearfar import configio
    from nearfar.data.loader import collate
    from nearfar.data.statistics import channel_statistics
    from nearfar.encoders.io import save_encoder
    from nearfar.methods import build_method
    from nearfar.train import checkpoint
    from nearfar.train.run import Run

    config = configio.load(preset, None, {"data.root": study, **STUDY_SETTINGS, **settings})
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(configio.dump(config), encoding="utf-8")
    run = Run(path)
    train = run.dataset("train")
    torch.manual_seed(0)
    method = build_method(config, train.channels, *channel_statistics(train))
    method.prepare(train)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(25):
        batch = collate([train[i] for i in range(len(train))])
        optimizer.zero_grad()
        method.step(batch).loss.backward()
        optimizer.step()
    save_encoder(method.encoder, path / "encoder.safetensors")
    checkpoint.save(run.checkpoints, 1, {"method": method.state_dict()}, 1)
    return run


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `write_study`; read only."""
    return write_study(tmp_path_factory.mktemp("study") / "study")


@pytest.fixture
def make_study_run(tmp_path: Path, study: Path) -> Callable[..., Any]:
    """`write_study_run` by name: make_study_run(name="study_run", data=None, preset="spatialclip", **settings)."""

    def make(name: str = "study_run", data: Path | None = None, **settings: Any) -> Any:
        return write_study_run(tmp_path / name, data or study, **settings)

    return make


@pytest.fixture(scope="session")
def measured_study(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of `write_study_run` with gates, and its task clinical measured; read only."""
    from nearfar.evaluate import evaluate

    folder = tmp_path_factory.mktemp("runs") / "study_run"
    run = write_study_run(folder, study, **{"method.fusion": "softmax", "eval.tasks": ("clinical",)})
    evaluate(run)
    return run
