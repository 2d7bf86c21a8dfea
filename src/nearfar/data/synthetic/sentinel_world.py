"""The Sentinel-2 world of the demonstration: places to learn from, and three sets to prove it on, in published layouts.

`places/` (SeCo), `eurosat/`, `pastis/` and `oscd/`. No place of one is a place of another, and inside each the test
samples are of other places than the training ones. Needs rasterio: `pip install 'nearfar[geo]'`.
"""

from __future__ import annotations

from pathlib import Path

from nearfar.data.synthetic.sentinel_layouts import new_folder, write_eurosat, write_oscd, write_seco
from nearfar.data.synthetic.sentinel_pastis import write_pastis
from nearfar.errors import ConfigError

SMALLEST = 10
"""places, below which the test sets would have no class twice"""


def generate(root: Path, *, n: int = 160, seed: int = 0) -> Path:
    """Write the world with `n` places of five dates (1.3 km, lossless 8 bit) and test sets in proportion; the root.

    The same arguments give the same pixels. Raises ConfigError for fewer than 10 places, a folder that is not empty, or
    without rasterio.
    """
    if n < SMALLEST:
        raise ConfigError("The world is too small", where="n", found=n, expected=f"at least {SMALLEST} places")
    with new_folder(Path(root)) as folder:
        # A seed of its own each: writers of one seed might draw the same scenes.
        write_seco(folder / "places", places=n, size=132, seed=4 * seed, compress="deflate")
        write_eurosat(folder / "eurosat", per_class=max(10, n // 4), seed=4 * seed + 1)
        write_pastis(folder / "pastis", patches=max(10, n // 5), dates=5, seed=4 * seed + 2)
        write_oscd(folder / "oscd", train=max(4, n // 16), test=max(2, n // 32), seed=4 * seed + 3)
    return Path(root)
