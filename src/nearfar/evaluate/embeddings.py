"""Embeddings with what is known about their samples, and arrays to and from files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import ConfigError, DataError, missing_extra
from nearfar.train.files import write_atomically

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
StringArray = NDArray[np.str_]

_COLUMNS = ("z", "label", "true_label", "split", "id", "index")


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of n samples and what is known about them, row by row in the order of the dataset."""

    z: FloatArray
    """float32 [n, D], as the encoder gives them (not scaled to length 1)"""
    label: IntArray
    """[n] given label, -1 where unknown"""
    true_label: IntArray
    """[n] label before noise, -1 where unknown"""
    split: StringArray
    """[n] train, val, test, or empty"""
    id: StringArray
    index: IntArray
    """[n] position in the dataset of the split"""
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.z)

    def where(self, rows: ArrayLike) -> Embeddings:
        """The rows chosen by a boolean mask [n] or by positions."""
        chosen = np.asarray(rows)
        return replace(self, **{name: getattr(self, name)[chosen] for name in _COLUMNS})

    def of_split(self, split: str) -> Embeddings:
        """The rows of one split."""
        return self.where(self.split == split)

    @property
    def truth(self) -> IntArray:
        """[n] the true label where known, otherwise the given one."""
        return np.where(self.true_label >= 0, self.true_label, self.label)

    @classmethod
    def join(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """All parts, one after the other; the classes are those of the first."""
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        return cls(**joined, classes=parts[0].classes)

    def save(self, path: Path) -> Path:
        """Write `.npz` (one array a field) or `.parquet` (one row a sample, z a list column), atomically.

        Raises ConfigError for another ending, or where Parquet lacks pyarrow.
        """
        write = {".npz": self._write_npz, ".parquet": self._write_parquet}.get(path.suffix)
        if write is None:
            raise ConfigError("unknown kind of embedding file", where=path, expected=".npz or .parquet")
        buffer = io.BytesIO()
        write(buffer)
        write_atomically(path, buffer.getvalue())
        return path

    @classmethod
    def load(cls, path: Path) -> Embeddings:
        """Read what `save` wrote to an `.npz` file. Raises DataError where it is absent or not such a file."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in _COLUMNS}
                return cls(**columns, classes=tuple(arrays["classes"].tolist()))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DataError("not a file of embeddings", where=path, found=error, fix="Write it anew.") from error

    def _write_npz(self, file: BinaryIO) -> None:
        columns: dict[str, Any] = {name: getattr(self, name) for name in _COLUMNS}
        np.savez(file, **columns, classes=np.array(self.classes, dtype=np.str_))

    def _write_parquet(self, file: BinaryIO) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise missing_extra("Parquet", "pyarrow", "parquet") from error
        z = pa.FixedSizeListArray.from_arrays(pa.array(self.z.ravel()), self.z.shape[1])
        columns = {name: pa.array(getattr(self, name).tolist()) for name in _COLUMNS if name != "z"}
        names = [self.classes[i] if i >= 0 else None for i in self.label.tolist()]
        table = pa.table({**columns, "class": pa.array(names, pa.string()), "z": z})
        pq.write_table(table, file)


def save_arrays(path: Path, **arrays: Any) -> Path:
    """Write named arrays to an `.npz` file, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
    return path
