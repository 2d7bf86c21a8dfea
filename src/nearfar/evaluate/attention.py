"""Where the encoder looks: attention and similarity maps, scored against masks beside chance and a centre prior."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import make_loader
from nearfar.encoders import rollout
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.bootstrap import Interval, bootstrap_mean
from nearfar.evaluate.embed import check_channels, run_encoder
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.thumbnails import channel_range, false_colour

if TYPE_CHECKING:
    from nearfar.train.run import Run

Maps = dict[str, Tensor]
Heat = NDArray[np.float32]

SCORED = 256  # images with a mask that are scored
SHOWN = 12  # images whose maps are kept for pictures
_BATCH = 32


def pixel_auroc(heat: ArrayLike, mask: ArrayLike) -> float:
    """Probability that a pixel of the mask is hotter than one outside it, heat and mask [H, W]; 0.5 is chance.

    Raises ShapeError where they differ in shape, DataError where the mask is empty or full or the heat not finite.
    """
    values, inside = _pair(heat, mask)
    return float(roc_auc_score(inside.ravel(), values.ravel()))


def pointing_game(heat: ArrayLike, mask: ArrayLike) -> float:
    """1 where the hottest pixel lies in the mask, 0 where not (Zhang et al. 2018, section 4.2, without tolerance).

    Among several hottest pixels, the share inside: a constant map scores what a blind guess does, the mask's area.
    Raises as `pixel_auroc`.
    """
    values, inside = _pair(heat, mask)
    return float(inside[values == values.max()].mean())


def centre_prior(size: int) -> Heat:
    """A Gaussian at the centre [size, size], deviation a quarter of the image: what a photographer's habit scores."""
    axis = (np.arange(size) + 0.5) / size - 0.5
    bell = np.exp(-(axis**2) / (2 * 0.25**2))
    return np.outer(bell, bell).astype(np.float32)


def score_maps(
    maps: dict[str, Heat], masks: NDArray[np.bool_], *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Mean pixel AUROC and pointing game with intervals of each kind of map [k, S, S] against masks [k, S, S].

    `chance` holds the chance lines (0.5, and the masks' mean share of the image), `centre_prior` what `centre_prior`
    scores on the same masks.
    """
    prior = np.broadcast_to(centre_prior(masks.shape[-1]), masks.shape)

    def mean(score: Callable[[ArrayLike, ArrayLike], float], heats: Heat) -> Interval:
        values = [score(heat, mask) for heat, mask in zip(heats, masks, strict=True)]
        return bootstrap_mean(values, resamples=resamples, confidence=confidence, seed=seed)

    scores: dict[str, Any] = {
        kind: {"pixel_auroc": mean(pixel_auroc, heats), "pointing_game": mean(pointing_game, heats)}
        for kind, heats in (maps | {"centre_prior": prior}).items()
    }
    scores["chance"] = {"pixel_auroc": 0.5, "pointing_game": float(masks.mean())}
    return scores | {"images": len(masks)}


@torch.no_grad()
def attention_maps(encoder: ImageEncoder, images: Tensor) -> Maps:
    """Maps [B, h, w] by kind of images [B, C, H, W], before upsampling; the encoder is in evaluation mode.

    Transformers: `last_block`, `rollout`, and `patch_similarity`, the cosine of every patch with the patch that the
    rollout attends to most. Convolutional networks, which have no attention: `descriptor_similarity`, the cosine of
    every cell with the mean over all cells, and `activation`, the length of each cell's feature vector.
    """
    x = images.to(encoder.mean.device)
    try:
        attention = encoder.attention(x)
    except ConfigError:
        attention = []
    dense = encoder.dense(x).float()
    if attention and encoder.grid is not None:
        chosen = rollout.rollout(attention, encoder.grid, encoder.prefix_tokens)
        last = rollout.last_block(attention, encoder.grid, encoder.prefix_tokens)
        return {"last_block": last, "rollout": chosen, "patch_similarity": _to_hottest(dense, chosen)}
    descriptor = dense.mean((2, 3), keepdim=True)
    return {"descriptor_similarity": F.cosine_similarity(dense, descriptor, dim=1), "activation": dense.norm(dim=1)}


def _to_hottest(dense: Tensor, heat: Tensor) -> Tensor:
    """Cosine of every cell of dense [B, D, h, w] with the cell where heat [B, h, w] is largest."""
    cells = F.normalize(dense.flatten(2), dim=1)
    hottest = heat.flatten(1).argmax(1)[:, None, None].expand(-1, cells.shape[1], 1)
    return (cells * cells.gather(2, hottest)).sum(1).reshape(heat.shape)


def upsample(maps: Tensor, size: int) -> Heat:
    """Maps [B, h, w] as float32 [B, size, size], bilinear."""
    large = F.interpolate(maps[:, None].float(), (size, size), mode="bilinear", align_corners=False)[:, 0]
    return cast(Heat, large.cpu().numpy())


def attention_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Maps of the test images to arrays/attention.npz, and their scores where the data have masks.

    Up to 256 images whose mask is neither empty nor full are scored; 12 of them, evenly taken, are kept for pictures
    (image uint8 [k, S, S, 3], mask bool [k, S, S], id, maps/KIND float32 [k, S, S]). Without masks: pictures only.
    """
    encoder, samples = run_encoder(run), dataset if dataset is not None else run.dataset("test")
    check_channels(encoder, samples.channels)
    if not len(samples):
        raise DataError("no test images to look at")
    chosen = _evenly(_masked(samples) if samples.has_masks else np.arange(len(samples)), SCORED)
    scored = samples.has_masks and bool(len(chosen))
    part = samples.subset(chosen if scored else _evenly(np.arange(len(samples)), SHOWN))
    images, masks, maps = _collect(encoder, part)
    _save_pictures(run, part, images, masks, maps)
    if not scored:
        return {"images": 0, "kinds": list(maps)}
    return score_maps(maps, masks, resamples=config.bootstrap, confidence=config.confidence, seed=config.seed)


def _collect(encoder: ImageEncoder, part: SampleDataset) -> tuple[Tensor, NDArray[np.bool_], dict[str, Heat]]:
    """Images [k, C, S, S], masks [k, S, S] (all False without any) and upsampled maps of all samples."""
    images, masks, maps = [], [], []
    for batch in _batches(part):
        images.append(batch["image"])
        masks.append(batch.get("mask", torch.zeros_like(batch["image"][:, 0], dtype=torch.bool)))
        maps.append({kind: upsample(m, part.size) for kind, m in attention_maps(encoder, batch["image"]).items()})
    joined = {kind: np.concatenate([m[kind] for m in maps]) for kind in maps[0]}
    return torch.cat(images), torch.cat(masks).numpy(), joined


def _save_pictures(
    run: Run, part: SampleDataset, images: Tensor, masks: NDArray[np.bool_], maps: dict[str, Heat]
) -> None:
    shown = _evenly(np.arange(len(part)), SHOWN)
    low, high = channel_range(part)
    arrays: dict[str, Any] = {f"maps/{kind}": heat[shown] for kind, heat in maps.items()}
    arrays["image"] = false_colour(images[shown], part.channels, low, high, part.size)
    arrays |= {"mask": masks[shown], "id": np.array(part.ids, dtype=np.str_)[shown]}
    save_arrays(run.arrays / "attention.npz", **arrays)


def _masked(samples: SampleDataset) -> NDArray[np.int64]:
    """Positions of the samples whose mask is neither empty nor full."""
    shares = torch.cat([batch["mask"].float().mean((1, 2)) for batch in _batches(samples)])
    return np.asarray(np.flatnonzero(((shares > 0) & (shares < 1)).numpy()))


def _batches(samples: SampleDataset) -> Iterator[dict[str, Any]]:
    return iter(make_loader(samples, batch_size=_BATCH, sampler="sequential", drop_last=False))


def _evenly(positions: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """At most `limit` of the positions, evenly spaced, in order."""
    if len(positions) <= limit:
        return positions
    spaced = np.linspace(0, len(positions) - 1, limit).round().astype(int)
    return np.asarray(positions[spaced])


def _pair(heat: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, inside = np.asarray(heat, dtype=np.float64), np.asarray(mask, dtype=bool)
    if values.shape != inside.shape or values.ndim != 2:
        raise ShapeError("map and mask do not fit", found=f"{values.shape} and {inside.shape}", expected="[H, W] each")
    if not np.isfinite(values).all():
        raise DataError("the map holds NaN or infinity")
    if inside.all() or not inside.any():
        raise DataError("a map cannot be scored against this mask", found="full" if inside.all() else "empty")
    return values, inside
