"""Loaders resume exactly, leave the global random state alone, and report errors of workers shortly."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.data import ImageDataset, Record, TensorDataset, make_loader
from nearfar.data.dataset import default_channels
from nearfar.errors import DataError, NearfarError


def _data(count: int = 10) -> TensorDataset:
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 3, 4, 4) / count
    return TensorDataset(images, np.arange(count) % 2, masks=images[:, 0] > 0.5)


def _square(batch: dict) -> dict:
    return {**batch, "views": batch["image"][:, None] ** 2}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_collated_and_viewed(workers: int) -> None:
    batch = next(iter(make_loader(_data(), batch_size=4, views=_square, workers=workers)))
    assert batch["image"].shape == (4, 3, 4, 4)
    assert batch["mask"].shape == (4, 4, 4)
    assert batch["label"].dtype == batch["seed"].dtype == batch["index"].dtype == torch.int64
    assert batch["id"] == [f"{i:06d}" for i in batch["index"].tolist()]
    assert torch.equal(batch["views"][:, 0], batch["image"] ** 2)


def test_resume_gives_the_same_batches() -> None:
    whole = list(make_loader(_data(), batch_size=3, seed=5, steps=9))
    rest = list(make_loader(_data(), batch_size=3, seed=5, start_step=4, steps=5))
    for a, b in zip(whole[4:], rest, strict=True):
        assert torch.equal(a["index"], b["index"])
        assert torch.equal(a["seed"], b["seed"])


def test_seeds_change_with_the_epoch_and_not_with_the_batch() -> None:
    def seeds(**options: int) -> dict[int, int]:
        batches = list(make_loader(_data(), sampler="sequential", **options))
        return {int(i): int(s) for b in batches for i, s in zip(b["index"], b["seed"], strict=True)}

    assert seeds(batch_size=3) == seeds(batch_size=5)
    assert not set(seeds(batch_size=5).values()) & set(seeds(batch_size=5, start_step=2).values())


def test_sequential_gives_every_sample_once() -> None:
    batches = list(make_loader(_data(), batch_size=4, sampler="sequential"))
    assert torch.cat([b["index"] for b in batches]).tolist() == list(range(10))
    assert len(make_loader(_data(), batch_size=4)) == 2


def test_loading_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    list(make_loader(_data(), batch_size=4))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_files_are_named_without_a_traceback_in_the_text(tmp_path: Path, workers: int) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    data = ImageDataset([Record("bad", (tmp_path / "bad.png",))], default_channels(3))
    with pytest.raises(DataError, match=r"bad\.png: the image cannot be decoded") as caught:
        list(make_loader(data, batch_size=1, workers=workers))
    assert "Traceback" not in str(caught.value)


def _die(batch: dict) -> dict:
    os._exit(3)


def test_death_of_a_worker_is_one_short_error() -> None:
    with pytest.raises(NearfarError, match=r"a loader process died.*--train\.workers") as caught:
        list(make_loader(_data(), batch_size=4, views=_die, workers=1))
    assert len(str(caught.value)) < 300


def _raise(batch: dict) -> dict:
    raise RuntimeError("views are broken")


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match="views are broken"):
        list(make_loader(_data(), batch_size=4, views=_raise))
