"""From batches of a study to what SpatialCLIP's encoders take: which modalities there are, tokens, what is required."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from nearfar.data.study import MODALITIES
from nearfar.encoders.text import Tokenizer
from nearfar.errors import ConfigError, DataError, did_you_mean
from nearfar.methods.base import Batch
from nearfar.methods.spatialclip_parts import caption_ids

KEYS = {"image": ("image",), "text": ("text",), "boxes": ("objects", "object_labels")}
"""what a batch brings of each modality"""


def require(batch: Mapping[str, Any], modalities: Collection[str]) -> None:
    """Raise DataError where a batch to learn from has not the keys of these modalities."""
    for name in modalities:
        absent = [key for key in KEYS[name] if key not in batch]
        if absent:
            raise DataError(
                f"SpatialCLIP learns from {name}",
                where=f"batch[{absent[0]!r}]",
                found=f"keys {', '.join(batch)}",
                fix="Give a study: images with captions and boxes; or leave it out of method.modalities.",
            )


def single_to_batch(sample: Mapping[str, Any]) -> Batch:
    """One sample as a batch of one."""
    batch: Batch = {key: value[None] for key, value in sample.items() if isinstance(value, Tensor)}
    batch |= {key: torch.tensor([value]) for key, value in sample.items() if isinstance(value, int | float)}
    return batch | {key: [value] for key, value in sample.items() if isinstance(value, str)}


def tokenised(tokenizer: Tokenizer, batch: Mapping[str, Any], device: torch.device) -> Batch:
    """`text_ids` int64 [B, L], `text_mask` bool [B, L], `text_group` int64 [B], equal for equal captions."""
    ids, mask = tokenizer(list(batch["text"]))
    group = caption_ids(batch["text"])
    return {"text_ids": ids.to(device), "text_mask": mask.to(device), "text_group": group.to(device)}


def present(batch: Mapping[str, Any], modalities: Collection[str]) -> Tensor:
    """bool [B, 3]: which of the modalities, and of all others none, a sample has."""
    device, count = batch["image"].device, len(batch["image"])
    used = torch.tensor([name in modalities for name in MODALITIES], device=device)
    there = batch.get("present")
    return used.expand(count, -1) if there is None else there.to(device) & used


def to_predict(
    batch: Mapping[str, Any],
    tokenizer: Tokenizer,
    modalities: Collection[str],
    drop: Collection[str],
    device: torch.device,
) -> tuple[Batch, Tensor]:
    """A batch to judge on the device, as `project` takes it, and which modalities [B, 3] each sample shows.

    Missing are those that `present` says, of which the batch has no keys, and those in `drop`. Raises ConfigError for
    an unknown name in `drop`, DataError where nothing of a sample is left.
    """
    for name in drop:
        if name not in MODALITIES:
            fix = did_you_mean(name, MODALITIES, quote="'")
            raise ConfigError(f"there is no modality {name!r} to drop", expected=", ".join(MODALITIES), fix=fix)
    left = [name for name in modalities if name not in drop and all(key in batch for key in KEYS[name])]
    if not left:
        raise DataError("nothing is left to judge", found=f"keys {', '.join(batch)}", expected=", ".join(modalities))
    moved: Batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items() if k != "index"}
    moved.setdefault("image", torch.empty(len(batch[KEYS[left[0]][0]]), 0, device=device))
    shown = present(moved, left)
    if not bool(shown.any(1).all()):
        row = int((~shown.any(1)).nonzero()[0])
        raise DataError(
            "every modality of a sample is missing", where=f"row {row}", expected=f"one of {', '.join(left)}"
        )
    moved["views"] = moved["image"][:, None]
    if "text" in left:
        moved |= tokenised(tokenizer, moved, device)
    return moved, shown


def alone(inputs: tuple[Tensor, ...], row: int) -> tuple[Tensor, ...]:
    """One row of an encoder's inputs as a batch; of tokens and their mask without the padding of its batch."""
    if len(inputs) == 1:
        return (inputs[0][row : row + 1],)
    ids, mask = inputs
    used = mask[row] if bool(mask[row].any()) else torch.ones_like(mask[row])
    return ids[row, used][None], mask[row, used][None]
