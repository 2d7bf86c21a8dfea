"""Colour pictures of multispectral pixels, by band name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import ConfigError
from nearfar.spatial.bands import Sensor, sensor

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("nir", "red", "green")
"""vegetation red, water dark, soil and buildings grey to cyan"""


def composite(
    pixels: Floats,
    bands: Sequence[str],
    of: Sensor | str,
    colours: Sequence[str] = TRUE_COLOUR,
    valid: NDArray[np.bool_] | None = None,
) -> Picture | None:
    """Pixels [C, H, W] with the named bands as a picture uint8 [H, W, 3]; None where a wanted band is not there.

    `colours`: three bands by name or alias of the sensor. Each is stretched from the 1st to the 99th percentile of
    its valid pixels, but at most twice as far as the one that varies most; pixels without data are black.
    """
    places = [_place(name, bands, of) for name in colours]
    if None in places:
        return None
    chosen = pixels[[place for place in places if place is not None]]
    known = np.ones(chosen.shape[1:], bool) if valid is None else valid
    if not known.any():
        return np.zeros((*chosen.shape[1:], 3), np.uint8)
    low, high = np.quantile(chosen[:, known], [0.01, 0.99], axis=1)[..., None, None]
    # Each band from its own darkest, which takes the haze away; none stretched more than twice as far as the widest.
    span = np.maximum(high - low, max(float((high - low).max()) / 2, 1e-6))
    scaled = np.clip((chosen - low) / span, 0, 1)
    return np.asarray(np.where(known[..., None], (scaled.transpose(1, 2, 0) * 255).round(), 0).astype(np.uint8))


def _place(name: str, bands: Sequence[str], of: Sensor | str) -> int | None:
    try:
        known = of if isinstance(of, Sensor) else sensor(of)
    except ConfigError:
        return None
    wanted = known.find(name)
    found = [known.find(band) for band in bands]
    return found.index(wanted) if wanted is not None and wanted in found else None
