"""The task of mirrored views: triples and ranks by hand, ties, symmetric objects, baselines, a run measured whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import configio
from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset, TensorDataset, default_channels
from nearfar.data.readers.mir180 import Mir180
from nearfar.encoders.bands import build_encoder
from nearfar.encoders.io import save_encoder
from nearfar.errors import DataError, ShapeError
from nearfar.evaluate import evaluate
from nearfar.evaluate.mirrors import collect, measures, pixel_baselines, ranks
from nearfar.train.run import Run

OPTIONS: dict[str, Any] = {"resamples": 50}


class Pictured(SampleDataset):
    """Triples of pictures in memory."""

    def __init__(self, rows: list[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor, bool]]) -> None:
        self.rows, self.channels, self.root, self.labels = rows, default_channels(3), None, np.zeros(len(rows))

    def __getitem__(self, key: Any) -> Any:
        group, image, mirror, opposite, negative = self.rows[key]
        return {
            "image": image, "mirror": mirror, "opposite": opposite, "negative": torch.tensor(negative),
            "group": group, "id": f"{group}/{key}",
        }  # fmt: skip


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def test_every_picture_of_an_object_is_one_view() -> None:
    a, b, c, d = pictures(4)
    views = collect(Pictured([("x", a, b, c, True), ("x", d, c, b, False), ("y", a, c, b, True)]))
    assert views.images.shape == (7, 3, 6, 6) and views.objects.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert views.triples.tolist() == [[0, 1, 2], [3, 2, 1], [4, 5, 6]]
    assert views.negative.tolist() == [True, False, True] and views.ids == ("x/0", "x/1", "y/2")


def test_views_that_are_their_own_mirror_are_nothing_to_find() -> None:
    a, b, c, _ = pictures(4)
    views = collect(Pictured([("lamp", a, a, a, True), ("table", a, b, a, True), ("chair", a, b, c, True)]))
    assert len(views.triples) == 2 and views.negative.tolist() == [False, True]
    with pytest.raises(DataError, match="no view differs"):
        collect(Pictured([("lamp", a, a, a, True)]))
    with pytest.raises(DataError, match="nearfar data mir180"):
        collect(TensorDataset(pictures(3)))


def test_ranks_by_hand_where_a_tie_is_a_miss() -> None:
    angles = np.radians([0, 10, 20, 90, 10, 180])
    z = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    triples = np.array([[0, 2, 3], [3, 2, 5], [0, 1, 5]])
    assert ranks(z[triples[:, 0]], z, triples).tolist() == [2, 0, 1]
    found = measures(z, np.array([0, 0, 0, 0, 1, 1]), triples, np.array([True, True, False]), **OPTIONS)
    assert found["triplet_accuracy"]["value"] == 1.0 and found["negatives"] == 2
    assert found["mirror_top1"]["value"] == pytest.approx(1 / 3) and found["mirror_top5"]["value"] == 1.0
    assert found["cosine_mirror"]["value"] == pytest.approx(np.cos(np.radians([20, 70, 10])).mean(), abs=1e-6)
    assert found["chance_top1"] == 1 / 5 and found["views"] == 6


def test_flipped_pixels_find_the_mirrored_view_of_a_symmetric_object() -> None:
    a, b, c, d = pictures(4)
    views = collect(Pictured([("x", a, a.flip(-1), b, True), ("y", c, c.flip(-1), d, True)]))
    found = pixel_baselines(views, **OPTIONS)
    assert found["flipped_pixels"]["mirror_top1"]["value"] == 1.0
    assert found["flipped_pixels"]["cosine_mirror"]["value"] == pytest.approx(1.0, abs=1e-5)
    assert found["pixels"]["cosine_mirror"]["value"] < 0.9


def test_without_a_negative_there_is_no_triplet_accuracy() -> None:
    z = np.eye(3, dtype=np.float32)
    found = measures(z, np.zeros(3, int), np.array([[0, 1, 2]]), np.array([False]), **OPTIONS)
    assert found["triplet_accuracy"] is None
    with pytest.raises(ShapeError, match="do not fit"):
        measures(z, np.zeros(2, int), np.array([[0, 1, 2]]), np.array([True]), **OPTIONS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("mirrors")
    root = Mir180().write_example(folder / "data", count=40, size=16)
    settings = {
        "data.root": root, "data.size": 16, "encoder.size": 16, "encoder.options": {"pool": 1},
        "eval.tasks": ("mirrors",), "eval.bootstrap": 50,
    }  # fmt: skip
    config = configio.load("smcl", None, settings)
    made = Run(folder / "run")
    made.path.mkdir()
    (made.path / "config.yaml").write_text(configio.dump(config), encoding="utf-8")
    torch.manual_seed(0)
    save_encoder(build_encoder(config.encoder, default_channels(3)), made.path / "encoder.safetensors")
    return made


def test_a_run_is_measured_from_its_folder(run: Run) -> None:
    found = evaluate(run)["mirrors"]
    assert run.metrics["mirrors"] == found and found["triples"] == 10 and found["views"] == 20
    assert set(found["baselines"]) == {"pixels", "flipped_pixels"}
    with np.load(run.arrays / "mirrors.npz") as data:
        assert data["view"].shape == (1, 16, 16, 3) and data["hits/picture"].shape == (1, 6, 16, 16, 3)
        assert data["hits/is_mirror"].sum() <= 1 and data["rank"].shape == (10,)
        assert (np.diff(data["hits/cosine"]) <= 0).all()
        top = float((data["rank"] == 0).mean())
    assert found["mirror_top1"]["value"] == pytest.approx(top)


def test_ordinary_images_are_skipped_with_the_reason(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no mirrored and opposite views"):
        from nearfar.evaluate.mirrors import mirrors_task

        mirrors_task(run, EvalConfig(), TensorDataset(pictures(3)))
