"""The spills world: registered RGB, thermal and depth images of indoor floors, with and without liquid on them.

Three classes, clean, cold and warm, with a strong imbalance and a known share of wrong training labels. No sensor is
enough alone: colour shows liquid but not its temperature, temperature shows footprints, vents, sunlight and mirror
images as well, and a quarter of the spills is nearly as warm as the floor. Truth is written aside, so every claim can
be scored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nearfar.data.synthetic.folders import whole_folder
from nearfar.data.synthetic.spills_plan import CLASSES, FLOORS, FRAMES_PER_ROOM, LIQUIDS, Ints, Plan, draw_plan
from nearfar.data.synthetic.spills_render import Frames, render
from nearfar.errors import ConfigError

_SPLITS = {"train": 0.65, "val": 0.10, "test": 0.25}
_FIELDS = ("ambiguity", "contrast", "area", "occluded", "glare", "floor", "liquid", "softness")
_BLOCK = 32  # scenes rendered at once; part of the definition of the world, because noise is drawn block by block


def generate(
    root: Path,
    *,
    n: int = 1200,
    size: int = 64,
    seed: int = 0,
    label_noise: float = 0.2,
    shares: tuple[float, float, float] = (0.70, 0.18, 0.12),
) -> Path:
    """Write n scenes of `size` pixels below `root`, which must not exist or be empty, and return it.

    `rgb/ID.png` 8 bit; `thermal/ID.png` 16 bit, hundredths of a kelvin; `depth/ID.png` 16 bit, millimetres, 0 where
    nothing was measured; `labels.csv` (id, label, split, group). Groups are rooms, and a room is in one split. In the
    train and in the val split exactly round(label_noise * images) labels are replaced by one of the other two classes;
    test labels are right. `truth/labels.csv` has the true label and what makes the scene hard: ambiguity (0 clear to 1
    as warm as the floor), contrast (kelvin), area (visible, share of the image), occluded (share of the liquid), glare
    (0 to 1), floor, liquid, softness of the edge; `truth/masks/ID.png` the visible liquid.

    The same arguments give the same bytes. The folder appears whole or not at all. Raises ConfigError.
    """
    root = Path(root)
    _check(n, size, label_noise, shares)
    with whole_folder(root) as folder:
        _write(folder, n, size, seed, label_noise, shares)
    return root


def _check(n: int, size: int, label_noise: float, shares: tuple[float, float, float]) -> None:
    wrong = (
        ("n", n, "at least 24 images (three rooms)", n >= 3 * FRAMES_PER_ROOM),
        ("size", size, "16 to 1024 pixels", 16 <= size <= 1024),
        ("label_noise", label_noise, "0 to 1", 0 <= label_noise <= 1),
        ("shares", shares, "three shares above 0 that sum to 1", min(shares) > 0 and abs(sum(shares) - 1) < 1e-6),
    )
    for name, found, expected, fits in wrong:
        if not fits:
            raise ConfigError("Value out of range", where=name, found=found, expected=expected)


def _write(root: Path, n: int, size: int, seed: int, label_noise: float, shares: tuple[float, float, float]) -> None:
    layout, noise, labels = (np.random.default_rng([seed, stream]) for stream in range(3))
    plan = draw_plan(layout, n, shares)
    split = _split_rooms(labels, plan.room)
    given = _flip(labels, plan.label, split, label_noise)
    names = [f"room{room:03d}_{i % FRAMES_PER_ROOM}" for i, room in enumerate(plan.room)]
    for folder in ("rgb", "thermal", "depth", "truth/masks"):
        (root / folder).mkdir(parents=True)
    factors: dict[int, dict[str, Any]] = {}
    for which, frames in _render_blocks(plan, size, noise):
        for k, i in enumerate(which):
            _save(root, names[i], frames, k)
            factors[int(i)] = _factors(plan, frames, int(i), k)
    rows = ((names[i], CLASSES[given[i]], split[i], f"room{plan.room[i]:03d}") for i in range(n))
    _table(root / "labels.csv", ("id", "label", "split", "group"), rows)
    truth = ((names[i], CLASSES[plan.label[i]], *(factors[i][name] for name in _FIELDS)) for i in range(n))
    _table(root / "truth/labels.csv", ("id", "label", *_FIELDS), truth)


def _split_rooms(rng: np.random.Generator, room: Ints) -> list[str]:
    rooms = int(room[-1]) + 1
    held = {name: max(1, round(share * rooms)) for name, share in _SPLITS.items() if name != "train"}
    names = ["train"] * (rooms - sum(held.values())) + [name for name, count in held.items() for _ in range(count)]
    shuffled = rng.permutation(names)
    return [str(shuffled[r]) for r in room]


def _flip(rng: np.random.Generator, label: Ints, split: list[str], share: float) -> Ints:
    given = label.copy()
    for name in ("train", "val"):
        members = np.flatnonzero(np.array(split) == name)
        chosen = rng.choice(members, round(share * len(members)), replace=False)
        given[chosen] = (label[chosen] + rng.integers(1, len(CLASSES), len(chosen))) % len(CLASSES)
    return given


def _render_blocks(plan: Plan, size: int, rng: np.random.Generator) -> Iterator[tuple[Ints, Frames]]:
    for floor in range(len(FLOORS)):
        members = np.flatnonzero(plan.floor == floor)
        for start in range(0, len(members), _BLOCK):
            which = members[start : start + _BLOCK]
            yield which, render(plan.take(which), size, rng)


def _save(root: Path, name: str, frames: Frames, k: int) -> None:
    images = {
        "rgb": (frames.rgb[k] * 255).round().astype(np.uint8),
        "thermal": (frames.kelvin[k] * 100).round().astype(np.uint16),
        "depth": (frames.metres[k] * 1000).round().astype(np.uint16),
        "truth/masks": frames.mask[k].astype(np.uint8) * 255,
    }
    for folder, pixels in images.items():
        Image.fromarray(pixels).save(root / folder / f"{name}.png", compress_level=4)


def _factors(plan: Plan, frames: Frames, i: int, k: int) -> dict[str, Any]:
    wet = plan.label[i] > 0
    return {
        "ambiguity": f"{np.exp(-abs(plan.delta[i]) / 0.6) if wet else 0.0:.3f}",
        "contrast": f"{plan.delta[i]:.3f}",
        "area": f"{frames.mask[k].mean():.4f}",
        "occluded": f"{frames.hidden[k]:.3f}",
        "glare": f"{plan.glare[i, 2]:.3f}",
        "floor": FLOORS[plan.floor[i]],
        "liquid": LIQUIDS[plan.liquid[i]] if wet else "",
        "softness": f"{plan.softness[i]:.3f}" if wet else "",
    }


def _table(path: Path, header: tuple[str, ...], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
