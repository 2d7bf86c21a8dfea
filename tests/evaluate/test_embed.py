"""Embeddings keep their order, their files, and say what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.config import EncoderConfig
from nearfar.data.dataset import TensorDataset
from nearfar.data.readers.folder import Folder
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.embed import embed, embed_folder, embed_run, run_embeddings
from nearfar.evaluate.embeddings import Embeddings
from nearfar.train.run import Run


@pytest.fixture
def data() -> TensorDataset:
    return TensorDataset(torch.rand(11, 3, 16, 16), [0, 1, -1, 1, 0, 1, 0, 1, 0, 1, 0])


@pytest.fixture
def encoder(data: TensorDataset) -> ImageEncoder:
    return ImageEncoder(EncoderConfig(name="nano_cnn", size=16), data.channels)


def test_batches_change_neither_order_nor_values(data: TensorDataset, encoder: ImageEncoder) -> None:
    whole, parts = embed(encoder, data), embed(encoder, data, batch_size=4)
    np.testing.assert_allclose(whole.z, parts.z, atol=1e-5)
    one = encoder.eval()(data[7]["image"][None]).detach().numpy()
    np.testing.assert_allclose(parts.z[7], one[0], atol=1e-5)
    assert parts.id.tolist() == list(data.ids) and parts.label.tolist() == data.labels.tolist()


def test_training_mode_is_restored(data: TensorDataset, encoder: ImageEncoder) -> None:
    encoder.train()
    embed(encoder, data)
    assert encoder.training


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_files_hold_every_row(data: TensorDataset, encoder: ImageEncoder, tmp_path: Path, suffix: str) -> None:
    made = embed(encoder, data, split="test")
    path = made.save(tmp_path / "deep" / f"out{suffix}")
    if suffix == ".npz":
        back = Embeddings.load(path)
        np.testing.assert_array_equal(back.z, made.z)
        assert back.classes == ("0", "1") and back.split.tolist() == ["test"] * 11
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(path).to_pydict()
        np.testing.assert_array_equal(np.array(table["z"], dtype=np.float32), made.z)
        assert table["id"] == made.id.tolist() and table["class"][:3] == ["0", "1", None]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_files_that_are_none_are_named(data: TensorDataset, encoder: ImageEncoder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected \.npz or \.parquet"):
        embed(encoder, data).save(tmp_path / "out.csv")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 half")
    for name in ("broken.npz", "absent.npz"):
        with pytest.raises(DataError, match=f"{name}: not a file of embeddings"):
            Embeddings.load(tmp_path / name)


def test_a_diverged_encoder_is_named_with_the_sample(data: TensorDataset, encoder: ImageEncoder) -> None:
    with torch.no_grad():
        next(p for p in encoder.parameters() if p.ndim > 1).fill_(torch.nan)
    with pytest.raises(DataError, match=r"000000: 11 of 11 embeddings hold NaN"):
        embed(encoder, data)


def test_other_channels_and_no_samples_are_refused(data: TensorDataset, encoder: ImageEncoder) -> None:
    with pytest.raises(DataError, match=r"found gray, expected rgb\.r"):
        embed(encoder, TensorDataset(torch.rand(2, 1, 16, 16)))
    with pytest.raises(DataError, match="no samples"):
        embed(encoder, data.subset([]))


def test_a_run_is_embedded_by_split_with_both_kinds_of_labels(run: Run) -> None:
    made = embed_run(run)
    assert len(made) == 72 and set(made.split) == {"train", "val", "test"}
    assert (made.true_label >= 0).all() and (made.label != made.true_label).sum() == 12
    assert (made.truth == made.true_label).all()
    assert made.of_split("test").id.tolist() == list(run.dataset("test").ids)


def test_stored_embeddings_serve_until_the_encoder_changes(run: Run) -> None:
    first = run_embeddings(run)
    assert run_embeddings(run).z.tolist() == first.z.tolist()
    stored = run.arrays / "embeddings.npz"
    stamp = stored.stat().st_mtime
    os.utime(run.path / "encoder.safetensors", (stamp + 9, stamp + 9))
    os.utime(stored, (stamp - 9, stamp - 9))
    run_embeddings(run)
    assert stored.stat().st_mtime > stamp - 9


def test_a_given_dataset_stands_in_for_the_test_split(run: Run) -> None:
    run_embeddings(run)
    other = run.dataset("train").subset([3, 1])
    made = run_embeddings(run, other)
    assert made.of_split("test").id.tolist() == list(other.ids)
    other.classes = ("cat", "dog")
    with pytest.raises(DataError, match="other classes than the run"):
        run_embeddings(run, other, fresh=True)


def test_a_folder_is_embedded_as_the_run_reads_its_own(run: Run, scenes: Path, tmp_path: Path) -> None:
    made = embed_folder(run, scenes, tmp_path / "out.npz")
    own = embed_run(run)
    assert sorted(made.id) == sorted(own.id)
    np.testing.assert_allclose(made.z[np.argsort(made.id)], own.z[np.argsort(own.id)], atol=1e-5)
    assert len(Embeddings.load(tmp_path / "out.npz")) == 72


def test_a_folder_with_other_channels_is_refused(make_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="other channels than the encoder"):
        embed_folder(make_run(), Folder().write_example(tmp_path / "rgb_only"))
