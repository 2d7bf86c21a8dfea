"""The published thermal functions, number for number, and the pipeline's law."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.errors import ConfigError, DataError
from nearfar.views import legacy
from nearfar.views.random import derive

CASES = 27


@pytest.fixture
def cases(golden_dir: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    folder = golden_dir / "disco"
    with np.load(folder / "thermal.npz") as arrays:
        return json.loads((folder / "thermal_cases.json").read_text()), dict(arrays)


def run(case: dict[str, Any], image: np.ndarray) -> np.ndarray:
    arguments = dict(case["kwargs"])
    if case["function"] == "elastic":
        arguments["random_state"] = np.random.RandomState(arguments["random_state"])
    elif case["numpy_seed"] is not None:
        np.random.seed(case["numpy_seed"])
    result: np.ndarray = getattr(legacy, case["function"])(image, **arguments)
    return result


def test_every_golden_case_is_reproduced(cases: tuple[list[dict[str, Any]], dict[str, np.ndarray]]) -> None:
    described, arrays = cases
    differ = {}
    for case in described:
        found, expected = run(case, arrays[case["input"]]), arrays[case["name"]]
        assert found.dtype == expected.dtype and found.shape == expected.shape
        if not np.array_equal(found, expected):
            differ[case["name"]] = int(np.abs(found.astype(int) - expected).max())
    assert len(described) == CASES
    assert differ == {}


def test_published_faults_are_kept() -> None:
    image = np.full((40, 60), 100, np.uint8)
    image[:, 30:] = 120
    assert np.array_equal(legacy.brightness_contrast(image, 1, 1), image + 110)
    random = np.random.RandomState(0)
    nothing = sum(np.array_equal(legacy.occlusion(image, random=random), image) for _ in range(300)) / 300
    assert 0.1 < nothing < 0.4


def test_occlusion_never_covers_the_centre() -> None:
    image, random = np.full((60, 60), 9, np.uint8), np.random.RandomState(1)
    for _ in range(100):
        assert (legacy.occlusion(image, 0.25, 0.25, random=random)[18:42, 18:42] == 9).all()


def test_a_generator_replaces_the_global_state() -> None:
    image = np.arange(2400, dtype=np.uint8).reshape(40, 60)
    first, again = (legacy.contrast(image, random=np.random.RandomState(3)) for _ in range(2))
    assert np.array_equal(first, again)


def test_elastic_takes_grey_images() -> None:
    image = np.random.RandomState(0).randint(0, 255, (30, 20)).astype(np.uint8)
    moved = legacy.elastic(image, 34, 4, np.random.RandomState(0))
    assert moved.shape == image.shape
    assert not np.array_equal(moved, image)


def test_sixteen_bit_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"8-bit.*uint16"):
        legacy.contrast(np.zeros((4, 4), np.uint16))  # type: ignore[arg-type]


def test_a_box_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        legacy.occlusion(np.zeros((9, 9), np.uint8), 0.7, 0.7)


def test_batched_occlusion_has_the_law_of_the_published_one() -> None:
    image, key = torch.full((2000, 1, 90, 90), 290.0), derive(torch.arange(2000), "test")
    image[:, :, 45, 45] = 280.0
    covered = legacy.random_occlusion(image, key, probability=1.0) != image
    boxes = covered.flatten(1).sum(1)
    assert set(boxes.tolist()) == {0, 54 * 18}
    assert not covered[:, :, 27:63, 27:63].any()
    assert (boxes == 0).float().mean().item() == pytest.approx(0.21, abs=0.04)
    skipped = legacy.random_occlusion(image, key, probability=0.0)
    assert torch.equal(skipped, image)


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
def test_the_pipeline_is_seeded_and_resizes(shape: tuple[int, ...]) -> None:
    image = np.random.RandomState(0).randint(0, 255, shape).astype(np.uint8)
    augment = legacy.ThermalAugmentor(size=32)
    first, again, other = augment(image, 4), augment(image, 4), augment(image, 5)
    assert first.shape == (32, 32, *shape[2:]) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
