"""What a reader is: it recognises a layout, and lists its samples without decoding them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data import images
from nearfar.data.dataset import Record, SampleDataset
from nearfar.errors import ConfigError, DataError

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""names that a split goes by in folders and tables, to its name here"""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the data: where, what, and the remedy as a sentence."""

    path: Path | str
    what: str
    fix: str
    fatal: bool = True
    """whether the dataset cannot be opened with it; `check` lists the others too"""
    code: str = ""
    """name of the rule, where the format has names for them"""
    level: str = ""
    """error, warning or info, where there is a code"""
    location: str = ""
    """file, row and field, where there is a code"""

    @classmethod
    def of(cls, error: DataError, path: Path | str) -> Problem:
        """The problem that an error tells of."""
        details = [f"{k} {v}" for k, v in (("found", error.found), ("expected", error.expected)) if v is not None]
        what = error.what + (f" ({', '.join(details)})" if details else "")
        return cls(str(error.where or path), what, error.fix or "")


@dataclass
class Scan:
    """The samples of a layout, as its reader lists them."""

    records: list[Record]
    classes: tuple[str, ...]
    modalities: tuple[str, ...] = ("",)
    """names of `Record.paths`, in order; one empty name where there is but one, named by its channels"""
    problems: list[Problem] = field(default_factory=list)
    grouped: bool = False
    """whether `DataConfig.group` was a column and is already in the records"""
    open_set: bool = False
    """whether the test split holds classes that training does not, on purpose"""
    build: Callable[[list[Record], DataConfig, Path], SampleDataset] | None = None
    """makes the dataset of the records (which then have their splits) below a root; None: an `ImageDataset`"""
    read: Callable[[Path], NDArray[Any]] | None = None
    """decodes a path of a record as [H, W, C]; None: `images.read`"""
    examine: Callable[[Record], Iterable[Problem]] | None = None
    """what is wrong with a sample beyond its single files"""
    review: Callable[[], Iterable[Problem]] | None = None
    """decodes all images and lists what is wrong with them, in place of the checks that other formats share"""
    look_alikes: bool = True
    """whether images that look the same are kept in one split; False where groups are places, which are many"""
    layout: str = ""
    """name of the reader, filled in by whoever chose it"""


class Reader(ABC):
    """One format, one file in this package. The first line of a reader's docstring describes the layout to the user."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    """where several readers recognise a folder, the highest takes it"""
    needs: ClassVar[str] = ""
    """the package of an extra without which it cannot read"""
    reads_files: ClassVar[bool] = False
    """whether it reads the files data.train, data.val and data.test"""

    @abstractmethod
    def recognises(self, root: Path) -> bool:
        """Whether the layout at `root` (a folder or a file, which exists) is this one; cheap."""

    @abstractmethod
    def scan(self, config: DataConfig) -> Scan:
        """The samples below `config.root`, sorted, with every problem that shows without decoding images."""

    @abstractmethod
    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        """Writes a small valid set with something to learn, of about `count` samples; returns what to give as root."""


def split_files(config: DataConfig) -> dict[str, Path]:
    """Split -> the file that the configuration names for it. Raises DataError for one that is not there."""
    named = {"train": config.train, "val": config.val, "test": config.test}
    files = {split: Path(path) for split, path in named.items() if path is not None}
    for split, path in files.items():
        if not path.is_file():
            raise DataError("the file does not exist", where=path, fix=f"Check --data.{split}.")
    return files


def root_of(config: DataConfig) -> Path:
    """The root of the data, by default the folder of the first file that is named for a split.

    Raises ConfigError where nothing is given, DataError where it does not exist or may not be read.
    """
    if config.root is None:
        if files := split_files(config):
            return next(iter(files.values())).parent
        raise ConfigError("no data given", where="data.root", fix="Set --data.root to a folder or a manifest.")
    root = Path(config.root)
    if not root.exists():
        raise DataError("the data folder does not exist", where=root, fix="Check --data.root.")
    if not os.access(root, os.R_OK):
        raise DataError("the data may not be read", where=root, fix="Give yourself read permission.")
    return root


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` by name, without hidden ones."""
    if not folder.is_dir():
        return []
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    except PermissionError as error:
        raise _refusal(error) from None


def image_files(folder: Path, *, deep: bool = True) -> list[Path]:
    """The image files below `folder` (or, not deep, in it), sorted, hidden folders left out; none where it is not."""
    if not folder.is_dir():
        return []
    return sorted(_walk(folder, deep), key=lambda path: path.relative_to(folder).as_posix())


def holds_images(folder: Path) -> bool:
    """Whether there is any image below `folder`."""
    return any(True for _ in _walk(folder, True))


def duplicate_stems(paths: Iterable[Path]) -> list[list[Path]]:
    """Files of one folder that differ by nothing but the suffix."""
    by_stem: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_stem[path.with_suffix("")].append(path)
    return [group for group in by_stem.values() if len(group) > 1]


def no_images(root: Path) -> Problem:
    """The problem of a layout without samples."""
    return Problem(root, "no images found", f"Put images there ({' '.join(images.SUFFIXES)}), or check --data.root.")


def _walk(folder: Path, deep: bool) -> Iterator[Path]:
    visited: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_raise_refusal):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in visited:  # a link that leads back up
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = [] if not deep else [name for name in folders if not name.startswith((".", "__"))]
        yield from (path for path in (Path(parent, name) for name in names) if images.is_image(path))


def _refusal(error: OSError) -> DataError:
    return DataError("the folder may not be read", where=error.filename, fix="Give yourself read permission.")


def _raise_refusal(error: OSError) -> None:
    raise _refusal(error)
