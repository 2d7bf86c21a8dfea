"""Sets of boxes as numbers: geometry of each one, relations of each pair, and the letterbox they live in.

Objects are float [..., M, 5] = x, y, w, h (top-left corner, in units of the letterboxed canvas, 0..1, y down) and
confidence. Rows beyond an image's count are zero. After SpatialCLIP (spatial_encoder.py of its published code), without
what that code does to padding: there, rows of padding are neighbours at the origin, angles at zero distance are decided
by rounding, and their gradient is NaN.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.spatial.letterbox import MIDDLE_GREY, Letterbox, Rounding, letterbox_image

__all__ = [
    "FEATURES",
    "MIDDLE_GREY",
    "RELATIONS",
    "Letterbox",
    "Rounding",
    "Variant",
    "check_variant",
    "flip_objects",
    "geometry",
    "letterbox_image",
    "relations",
    "trim",
]

Variant = Literal["default", "reference"]
FEATURES = (
    "x", "y", "w", "h", "log_area", "log_aspect", "r_centre", "sin_theta", "cos_theta",
    "d_nearest", "sin_phi", "cos_phi", "confidence",
)  # fmt: skip
"""the 13 columns of `geometry`"""
RELATIONS = ("dx", "dy", "log_w", "log_h", "iou", "covered", "log_distance")
"""the 7 columns of `relations`"""
EPSILON = 1e-8  # the published code's, inside its logarithms
SAME_PLACE = 1e-6  # canvases: nearer points have no direction, and distances that differ by less are equal
MIN_SIDE = 1e-3  # canvases: a thinner box is measured as if it had this side where it divides


def geometry(objects: Tensor, valid: Tensor, variant: Variant = "default") -> Tensor:
    """The 13 numbers `FEATURES` of each object: [..., M, 5] and bool [..., M] -> [..., M, 13], zero where not valid.

    x, y, w, h; log(wh + eps); log(w / (h + eps) + eps); distance r of the box's centre from the image's and its angle
    theta there; distance of the nearest other centre and the angle phi towards it; confidence. Angles are a sine and a
    cosine, (0, 1) where the distance is under a millionth of the canvas. Without a neighbour all three of its numbers
    are 0. Among equally near neighbours the direction is the mean of theirs, so that the order of objects is nothing.

    "reference" is the published code's: every row, valid or not, is a neighbour, the first nearest one counts, a lone
    row is its own neighbour at distance 1e6, and no row is zeroed. Gradients are finite for finite objects.

    Raises ShapeError and ConfigError.
    """
    check_variant(variant)
    _check(objects, valid)
    if variant == "default":
        objects = torch.where(valid[..., None], objects, 0)
    x, y, w, h, confidence = objects.unbind(-1)
    centres = torch.stack([x + w / 2, y + h / 2], -1)
    radius, sin_theta, cos_theta = _polar(centres - 0.5)
    features = [x, y, w, h, torch.log(w * h + EPSILON), torch.log(w / (h + EPSILON) + EPSILON)]
    features += [radius, sin_theta, cos_theta]
    nearest = _nearest(centres, valid) if variant == "default" else _nearest_reference(centres)
    result = torch.stack([*features, *nearest, confidence], -1)
    return torch.where(valid[..., None], result, 0) if variant == "default" else result


def relations(objects: Tensor, valid: Tensor) -> Tensor:
    """The 7 numbers `RELATIONS` of each pair (i, j): [..., M, 5] and bool [..., M] -> [..., M, M, 7].

    From centre i to centre j in widths and heights of box i; log(w_j / w_i) and log(h_j / h_i); intersection over
    union; share of box j that box i covers; log(1 + length of the first two). Sides that divide count as at least
    `MIN_SIDE`. Zero where either is not valid, so that padding relates to nothing. Raises ShapeError.
    """
    _check(objects, valid)
    pairs = valid[..., :, None] & valid[..., None, :]
    boxes = torch.where(valid[..., None], objects[..., :4], 0)
    sides = boxes[..., 2:].clamp(min=MIN_SIDE)
    centres = boxes[..., :2] + boxes[..., 2:] / 2
    step = (centres[..., None, :, :] - centres[..., :, None, :]) / sides[..., :, None, :]
    ratio = torch.log(sides)[..., None, :, :] - torch.log(sides)[..., :, None, :]
    distance = torch.log1p(_length(step))
    result = torch.cat([step, ratio, _overlaps(boxes), distance[..., None]], -1)
    return torch.where(pairs[..., None], result, 0)


def trim(objects: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """[B, M, 5] and int64 [B, M] (-1: no object) without the columns that are empty in the whole batch, at the end.

    What is cut is padding, which changes nothing but time. One wait for the device. Raises ShapeError.
    """
    _check(objects, labels)
    used = (labels >= 0).flatten(0, -2).any(0).nonzero()
    count = int(used[-1]) + 1 if len(used) else 0
    return objects[..., :count, :], labels[..., :count]


def flip_objects(objects: Tensor, horizontal: bool | Tensor, vertical: bool | Tensor = False) -> Tensor:
    """Objects [..., M, 5] of the flipped canvas: left-right where `horizontal`, upside down where `vertical`.

    Each is one bool or a bool tensor [...] of one per image. Rows of zeros (padding) stay. Names of classes that say a
    side are the caller's to swap. Raises ShapeError.
    """
    _check_objects(objects)
    x, y, w, h, confidence = objects.unbind(-1)
    real = objects.ne(0).any(-1)
    x = torch.where(_per_image(horizontal, objects) & real, 1 - x - w, x)
    y = torch.where(_per_image(vertical, objects) & real, 1 - y - h, y)
    return torch.stack([x, y, w, h, confidence], -1)


def check_variant(variant: str) -> None:
    """Raises ConfigError for a variant that does not exist."""
    if variant not in get_args(Variant):
        raise ConfigError("unknown variant", where="boxes", found=variant, expected=" or ".join(get_args(Variant)))


def _per_image(flag: bool | Tensor, objects: Tensor) -> Tensor:
    flags = torch.as_tensor(flag, dtype=torch.bool, device=objects.device)
    if flags.ndim and flags.shape != objects.shape[:-2]:
        found, expected = f"flags {tuple(flags.shape)}", f"{tuple(objects.shape[:-2])}, one an image"
        raise ShapeError("flags do not fit the objects", where="flip_objects", found=found, expected=expected)
    return flags[..., None]


def _check_objects(objects: Tensor) -> None:
    if objects.ndim < 2 or objects.shape[-1] != 5 or not objects.is_floating_point():
        found = f"{objects.dtype} of shape {tuple(objects.shape)}"
        raise ShapeError("objects do not fit", where="boxes", found=found, expected="floats [..., M, 5]")


def _check(objects: Tensor, each: Tensor) -> None:
    _check_objects(objects)
    if each.shape != objects.shape[:-1]:
        found = f"{tuple(each.shape)} beside objects {tuple(objects.shape)}"
        raise ShapeError("one value for each object is needed", where="boxes", found=found)


def _length(steps: Tensor) -> Tensor:
    """Euclidean length over the last axis; its gradient at zero is zero, not NaN."""
    square = steps.square().sum(-1)
    zero = square == 0
    return torch.where(zero, 0, torch.sqrt(torch.where(zero, 1, square)))


def _polar(steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Length, sine and cosine of steps [..., 2] = (right, down); (0, 1) where there is no direction."""
    length = _length(steps)
    none = length < SAME_PLACE
    safe = torch.where(none, 1, length)
    return length, torch.where(none, 0, steps[..., 1] / safe), torch.where(none, 1, steps[..., 0] / safe)


def _nearest(centres: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance, sine, cosine = _polar(centres[..., None, :, :] - centres[..., :, None, :])
    itself = torch.eye(centres.shape[-2], dtype=torch.bool, device=centres.device)
    other = valid[..., :, None] & valid[..., None, :] & ~itself
    if not centres.shape[-2]:
        return (centres[..., 0],) * 3
    least = torch.where(other, distance, torch.inf).amin(-1)
    alone = torch.isinf(least)
    tied = (other & (distance <= least[..., None] + SAME_PLACE)).to(centres.dtype)
    count = tied.sum(-1).clamp(min=1)
    return torch.where(alone, 0, least), (tied * sine).sum(-1) / count, (tied * cosine).sum(-1) / count


def _nearest_reference(centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if not centres.shape[-2]:
        return (centres[..., 0],) * 3
    distance, sine, cosine = _polar(centres[..., None, :, :] - centres[..., :, None, :])
    distance = distance + 1e6 * torch.eye(centres.shape[-2], dtype=centres.dtype, device=centres.device)
    first = distance.argmin(-1, keepdim=True)
    found = [values.gather(-1, first)[..., 0] for values in (distance, sine, cosine)]
    return found[0], found[1], found[2]


def _overlaps(boxes: Tensor) -> Tensor:
    """[..., M, M, 2]: intersection over union, and the share of box j inside box i; a box without area counts as one
    of `MIN_SIDE` squared."""
    low, high = boxes[..., :2], boxes[..., :2] + boxes[..., 2:]
    least = torch.maximum(low[..., :, None, :], low[..., None, :, :])
    most = torch.minimum(high[..., :, None, :], high[..., None, :, :])
    shared = (most - least).clamp(min=0).prod(-1)
    area = boxes[..., 2:].prod(-1)
    union = area[..., :, None] + area[..., None, :] - shared
    smallest = MIN_SIDE**2
    return torch.stack([shared / union.clamp(min=smallest), shared / area[..., None, :].clamp(min=smallest)], -1)
