"""Colours of map classes: the customary one where a class has one, another that is easily told apart elsewhere."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]

_CUSTOMARY = {
    "12429a": "sea sealake",
    "1f78d1": "water",
    "4fa9dd": "river",
    "1b6e3a": "forest",
    "2e8b3d": "broadleaf",
    "0e4d2b": "conifer",
    "6dbe45": "meadow pasture",
    "a8d08d": "grass herbaceousvegetation grassland naturalgrassland",
    "e6c84b": "wheat annualcrop softwinterwheat farmland irrigatedland",
    "f2a12e": "corn",
    "fff04a": "rapeseed winterrapeseed",
    "d9730d": "sunflower",
    "b5651d": "orchard permanentcrop gardenland",
    "7a3b8f": "vineyard grapevine",
    "b9a38a": "bare",
    "e0433a": "residential builtup urbanresidential",
    "c23b8e": "industrial industrialland",
    "4d4d4d": "road highway trafficland",
    "1a1a1a": "background",
    "d8d8d8": "nochange unchanged",
    "d7191c": "change changed",
}
_SPARE = (
    *("f58231", "911eb4", "46f0f0", "f032e6", "bcf60c", "fabebe", "008080", "e6beff", "9a6324", "fffac8"),
    *("800000", "aaffc3", "808000", "ffd8b1", "000075", "808080", "3cb44b", "4363d8"),
)


def class_colours(classes: Sequence[str]) -> Colours:
    """One colour a class, uint8 [K, 3], no two the same; the same names in the same order give the same colours."""
    known = {name: value for value, names in _CUSTOMARY.items() for name in names.split()}
    wanted = [known.get(re.sub(r"[^a-z0-9]", "", name.lower())) for name in classes]
    taken: set[str] = set()
    chosen: list[str | None] = []
    for colour in wanted:
        chosen.append(None if colour in taken else colour)
        taken.add(colour or "")
    spare = (colour for colour in (*_SPARE, *_wheel(len(classes) + len(taken))) if colour not in taken)
    return np.array([list(bytes.fromhex(colour or next(spare))) for colour in chosen], np.uint8).reshape(-1, 3)


def _wheel(count: int) -> list[str]:
    """Colours around the hue circle, in steps of the golden ratio so that neighbours differ."""
    tints = (colorsys.hsv_to_rgb(i * 0.618034 % 1, (0.55, 0.9)[i % 2], (0.95, 0.65)[i // 2 % 2]) for i in range(count))
    return list(dict.fromkeys("".join(f"{round(255 * part):02x}" for part in tint) for tint in tints))
