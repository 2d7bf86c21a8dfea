"""Scenes of the relations world: things put beside, on, in, before and behind each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from nearfar.data.synthetic.relations_rules import Placed, weights
from nearfar.data.synthetic.relations_shapes import (
    COLOURS,
    OPEN,
    SHAPES,
    Bools,
    Thing,
    background,
    draw_thing,
    outline,
    paint,
)

_WAYS = ("beside", "touching", "inside", "overlapping")
_SHARES = (0.2, 0.09, 0.36, 0.35)
_TRIES = 30
_HIDDEN = 0.5  # largest hidden share of the smaller of two things


@dataclass(frozen=True)
class Scene:
    """Things from back to front."""

    things: list[Thing]
    placed: list[Placed]
    labels: NDArray[np.uint8]
    """[size, size], number of the thing that is seen plus 1; 0: ground"""

    def words(self, subject: int, target: int) -> dict[str, float]:
        """Weights of the words that fit two of its things."""
        return weights(self.placed[subject], self.placed[target], in_front=subject > target)


def compose(rng: np.random.Generator, size: int) -> Scene:
    """A scene of two to four things, each put into some relation with one that is already there."""
    wanted = int(rng.integers(2, 5))
    # Open outlines begin more scenes than others do, so that there is something to be in.
    first = _thing(rng, [], size, OPEN if rng.random() < 0.5 else SHAPES)
    column, row = rng.uniform(0.3, 0.7, 2) * size
    things, placed = [first], [Placed.of(outline(first, column, row, size), first.shape)]
    for _ in range(_TRIES * 2):
        if len(things) == wanted:
            break
        found = _add(rng, things, placed, size)
        if found is not None:
            position, thing, mask = found
            things.insert(position, thing)
            placed.insert(position, Placed.of(mask, thing.shape))
    return Scene(things, placed, _seen(placed))


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Its picture uint8 [size, size, 3]."""
    size = len(scene.labels)
    picture = background(rng, size)
    for thing, placed in zip(scene.things, scene.placed, strict=True):
        cover = gaussian_filter(placed.mask.astype(float), 0.45)[..., None]
        picture = picture * (1 - cover) + paint(thing, rng, size) * cover
    picture += rng.normal(0, rng.uniform(2, 6), picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _thing(rng: np.random.Generator, things: list[Thing], size: int, shapes: tuple[str, ...]) -> Thing:
    free = [colour for colour in COLOURS if colour not in {thing.colour for thing in things}]
    return draw_thing(rng, shapes, free, rng.uniform(0.09, 0.2) * size)


def _add(
    rng: np.random.Generator, things: list[Thing], placed: list[Placed], size: int
) -> tuple[int, Thing, Bools] | None:
    """A new thing in relation to one of the scene: its place in the order, and its mask; None where it does not fit."""
    way = str(rng.choice(_WAYS, p=_SHARES))
    anchors = [k for k, thing in enumerate(things) if way != "inside" or thing.shape in OPEN]
    if not anchors:
        return None
    anchor = int(rng.choice(anchors))
    target = placed[anchor]
    thing = _thing(rng, things, size, SHAPES)
    if way == "inside":
        thing, mask = _within(rng, thing, target, size)
    elif way == "overlapping":
        reach = (thing.radius + np.sqrt(target.area) / 2) * rng.uniform(0.1, 0.75)
        angle = rng.uniform(0, 2 * np.pi)
        column, row = target.centre + reach * np.array([np.cos(angle), np.sin(angle)])
        mask = outline(thing, float(column), float(row), size)
    else:
        mask = _against(rng, thing, target, size, touching=way == "touching")
    position = anchor + int(rng.integers(2)) if way == "overlapping" else len(things)
    return (position, thing, mask) if _fits(mask, placed, anchor) else None


def _within(rng: np.random.Generator, thing: Thing, target: Placed, size: int) -> tuple[Thing, Bools]:
    """In the room that an open outline leaves, made to fit."""
    room = np.where(target.hull, target.distance, 0)
    row, column = np.unravel_index(int(np.argmax(room + rng.uniform(0, 2, room.shape))), room.shape)
    smaller = float(min(thing.radius, room[row, column] * rng.uniform(0.7, 1.05)))
    thing = Thing(thing.shape, thing.colour, thing.texture, smaller, thing.turn, thing.stretch)
    shift = rng.normal(0, 0.1 * room[row, column], 2)
    return thing, outline(thing, float(column + 0.5 + shift[0]), float(row + 0.5 + shift[1]), size)


def _against(rng: np.random.Generator, thing: Thing, target: Placed, size: int, *, touching: bool) -> Bools:
    """Slid along an axis towards the target until a gap is left; touching: dropped onto it from above."""
    quarter = 0 if touching else int(rng.integers(4))
    goal = np.rot90(target.mask, quarter)
    columns = np.flatnonzero(goal.any(0))
    half = 0.5 * (columns.max() - columns.min() + 1) + (0 if touching else 0.8 * thing.radius)
    column = 0.5 * (columns.min() + columns.max() + 1) + rng.uniform(-0.85, 0.85) * half
    start = np.rot90(outline(thing, *_turned(column, size / 2, quarter, size), size), quarter)
    gap = 0 if touching else int(np.exp(rng.uniform(0, np.log(0.16 * size))))
    return np.rot90(_drop(start, goal, gap), -quarter)


def _turned(column: float, row: float, quarter: int, size: int) -> tuple[float, float]:
    """The (column, row) that a number of counter-clockwise quarter turns of the image brings to this one."""
    for _ in range(quarter):
        column, row = size - row, column
    return column, row


def _drop(mask: Bools, goal: Bools, gap: int) -> Bools:
    """The mask moved up or down until `gap` rows lie between it and the goal below it; empty where it would leave."""
    size = len(mask)
    if not mask.any():
        return mask
    bottom = np.where(mask.any(0), size - 1 - mask[::-1].argmax(0), -size)
    top = np.where(goal.any(0), goal.argmax(0), 3 * size)
    free = top - bottom - 1
    shared = mask.any(0) & goal.any(0)
    move = int(free[shared].min()) if shared.any() else int(np.nonzero(goal.any(1))[0].min() - bottom.max() - 1)
    rows, columns = np.nonzero(mask)
    rows = rows + move - gap
    moved = np.zeros_like(mask)
    if rows.min() >= 0 and rows.max() < size:
        moved[rows, columns] = True
    return moved


def _fits(mask: Bools, placed: list[Placed], anchor: int) -> bool:
    """Whole in the image, large enough, apart from all but the anchor, and neither hides the other too much."""
    border = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    if border or mask.sum() < 24:
        return False
    if any(other.distance[mask].min() < 2 for k, other in enumerate(placed) if k != anchor):
        return False
    shared = float((mask & placed[anchor].mask).sum())
    if shared > _HIDDEN * min(placed[anchor].area, float(mask.sum())):
        return False
    # Whichever is in front, both boxes stay as they are, so that boxes do not tell.
    return not shared or (_keeps_box(mask, placed[anchor].mask) and _keeps_box(placed[anchor].mask, mask))


def _keeps_box(mask: Bools, cover: Bools) -> bool:
    """Whether what is seen of a mask below another has the box of all of it."""
    seen = mask & ~cover
    return all(
        np.flatnonzero(seen.any(axis))[[0, -1]].tolist() == np.flatnonzero(mask.any(axis))[[0, -1]].tolist()
        for axis in (0, 1)
    )


def _seen(placed: list[Placed]) -> NDArray[np.uint8]:
    labels = np.zeros(placed[0].mask.shape, np.uint8)
    for number, thing in enumerate(placed, start=1):
        labels[thing.mask] = number
    return labels
