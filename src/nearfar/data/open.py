"""From a configuration to a dataset: find the reader, name the channels, assign the splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from nearfar.config import DataConfig
from nearfar.data import images
from nearfar.data.dataset import ImageDataset, Record, SampleDataset, channel_names, default_channels
from nearfar.data.readers import READERS, Reader, Scan, find_reader
from nearfar.data.readers.base import root_of, split_files
from nearfar.data.sample import Channels
from nearfar.data.split import groups_by_pattern, merged, near_duplicate_groups, stratified
from nearfar.errors import ConfigError, DataError

Split = Literal["train", "val", "test", "all"]


def open_dataset(config: DataConfig, split: Split = "all") -> SampleDataset:
    """The samples of one split, or of all (each record then says which split it belongs to).

    Splits that the data brings are kept; where it brings training and test samples alone, the validation samples are
    taken from the training ones. Otherwise samples are assigned by `config.splits`: classes in proportion, groups and
    near-duplicates never parted.

    Raises ConfigError for a wrong configuration and DataError for the first fatal problem of the data.
    """
    if split not in get_args(Split):
        raise ConfigError(f"unknown split {split!r}", expected=" | ".join(get_args(Split)))
    _validate(config)
    root = root_of(config)
    scan = scan_data(config)
    fatal = [problem for problem in scan.problems if problem.fatal]
    if fatal:
        more = f" `nearfar data check` lists {len(fatal) - 1} more." if len(fatal) > 1 else ""
        raise DataError(fatal[0].what, where=fatal[0].path, fix=fatal[0].fix + more)
    dataset, records = _built(scan, config, root)
    if split == "all":
        return dataset
    chosen = [i for i, record in enumerate(records) if record.split == split]
    if not chosen:
        raise DataError(
            f"the {split} split is empty",
            where=root,
            found=f"{len(scan.records)} samples",
            fix="Set --data.splits, or add samples: groups and near-duplicates are never parted.",
        )
    return dataset.subset(chosen)


def _built(scan: Scan, config: DataConfig, root: Path) -> tuple[SampleDataset, list[Record]]:
    if scan.build is not None:
        records = assign_splits(scan.records, config, scan)
        return scan.build(records, config, root), records
    channels = channels_of(config, scan.modalities, scan.records[0])
    records = assign_splits(scan.records, config, scan)
    return ImageDataset(records, channels, scan.classes, root, size=config.size, scale=config.scale), records


def _validate(config: DataConfig) -> None:
    if config.size < 1:
        raise ConfigError("the image size is not positive", where="data.size", found=config.size)
    if config.scale is not None and not 0 < config.scale < float("inf"):
        raise ConfigError("the scale is not a positive number", where="data.scale", found=config.scale)


def scan_data(config: DataConfig) -> Scan:
    """What the reader of `config` lists, with the groups of `config.group` filled in."""
    reader = _reader(config)
    scan = reader.scan(config)
    scan.layout = reader.name
    if config.modalities and scan.modalities != config.modalities:
        # Presets for pairs bring their modalities: who gave none cannot leave them out.
        paired = {"masks", "boxes"} & set(config.modalities)
        raise ConfigError(
            f"the layout {reader.name!r} has no {'pairs of objects' if paired else 'modalities to choose from'}",
            where="data.modalities",
            found=" ".join(config.modalities),
            fix="`nearfar data formats` lists the layouts that have them."
            if paired
            else "Leave it out, or set --data.format modalities.",
        )
    if config.group and not scan.grouped and scan.records:
        names = groups_by_pattern([record.id for record in scan.records], config.group)
        scan.records = [replace(r, group=name) for r, name in zip(scan.records, names, strict=True)]
    return scan


def _reader(config: DataConfig) -> Reader:
    root, files = root_of(config), split_files(config)
    if config.format == "auto" and files:
        return next(reader for reader in READERS.values() if reader.reads_files)
    reader = find_reader(config.format, root)
    if files and not reader.reads_files:
        where = f"data.{next(iter(files))}"
        raise ConfigError(
            f"the layout {reader.name!r} has no file a split", where=where, fix="Set --data.root instead."
        )
    return reader


def channels_of(config: DataConfig, modalities: Sequence[str], record: Record) -> Channels:
    """The channels, as the images of one record show them."""
    arrays = [images.read(path) for path in record.paths]
    dtypes = sorted({array.dtype.name for array in arrays})
    if config.scale is not None and len(dtypes) > 1:
        raise ConfigError(
            "one scale cannot fit modalities of different types",
            where="data.scale",
            found=", ".join(dtypes),
            fix="Leave it out: each type then has its own scale.",
        )
    counts = [array.shape[-1] for array in arrays]
    if tuple(modalities) == ("",):
        return default_channels(counts[0])
    return Channels.of({name: channel_names(name, count) for name, count in zip(modalities, counts, strict=True)})


def assign_splits(records: Sequence[Record], config: DataConfig, scan: Scan | None = None) -> list[Record]:
    """The records, each with a split. Raises DataError where only some of them bring one.

    `scan` says how their images are read, and whether those that look the same are kept together (default: yes).
    """
    scan = scan or Scan([], ())
    given = {record.split for record in records}
    if None in given and len(given) > 1:
        lost = next(record for record in records if record.split is None)
        raise DataError("some samples have a split and others none", where=lost.id, fix="Give every sample a split.")
    train, val, _ = config.splits
    if given == {None}:
        return _divide(records, range(len(records)), ("train", "val", "test"), config.splits, config.split_seed, scan)
    if "train" in given and "val" not in given and val > 0:
        chosen = [i for i, record in enumerate(records) if record.split == "train"]
        return _divide(records, chosen, ("train", "val"), (train, val), config.split_seed, scan)
    return list(records)


def _divide(
    records: Sequence[Record],
    chosen: Sequence[int],
    names: Sequence[str],
    shares: Sequence[float],
    seed: int,
    scan: Scan,
) -> list[Record]:
    labels = np.array([records[i].label for i in chosen], dtype=np.int64)
    twins = np.arange(len(chosen))
    if scan.look_alikes:
        twins = near_duplicate_groups([records[i].paths[0] for i in chosen], read=scan.read)
    groups = merged([records[i].group for i in chosen], twins)
    divided = list(records)
    for name, part in zip(names, stratified(labels, shares, seed, groups), strict=True):
        for position in part:
            divided[chosen[position]] = replace(records[chosen[position]], split=name)
    return divided
