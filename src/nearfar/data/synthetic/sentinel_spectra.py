"""What the ground of the Sentinel-2 world reflects: endmember spectra, land-cover classes, seasons, atmosphere.

A class is a linear mixture of endmembers whose shares follow double-logistic curves over the year. The endmembers are
typical values of field and library spectra (rounded, of no single source); they and the atmosphere were adjusted until
a balanced EuroSAT-like set has the published band means of EuroSAT (see `tests/data/synthetic/test_sentinel.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
RESOLUTION = dict(zip(BANDS, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), strict=True))
"""metres a pixel, by band"""

CLASSES = (
    *("sea", "river", "broadleaf", "conifer", "meadow", "grass", "wheat", "corn", "rapeseed", "sunflower"),
    *("orchard", "vineyard", "bare", "residential", "industrial", "road"),
)
CLASS_ID = {name: i for i, name in enumerate(CLASSES)}

ENDMEMBERS = {  # B01  B02   B03   B04   B05   B06   B07   B08   B8A   B09   B10   B11   B12
    "canopy": (0.022, 0.028, 0.064, 0.034, 0.108, 0.325, 0.415, 0.435, 0.455, 0.455, 0.30, 0.210, 0.096),
    "broadleaf": (0.015, 0.019, 0.042, 0.022, 0.076, 0.245, 0.310, 0.322, 0.338, 0.338, 0.22, 0.158, 0.068),
    "conifer": (0.012, 0.015, 0.027, 0.018, 0.048, 0.138, 0.170, 0.180, 0.190, 0.188, 0.10, 0.088, 0.039),
    "straw": (0.062, 0.080, 0.114, 0.157, 0.191, 0.218, 0.240, 0.262, 0.278, 0.285, 0.25, 0.350, 0.250),
    "blossom": (0.030, 0.040, 0.132, 0.124, 0.192, 0.330, 0.400, 0.420, 0.440, 0.440, 0.30, 0.230, 0.110),
    "soil": (0.072, 0.092, 0.128, 0.172, 0.198, 0.213, 0.229, 0.246, 0.261, 0.269, 0.28, 0.326, 0.276),
    "wet_soil": (0.040, 0.050, 0.069, 0.092, 0.108, 0.120, 0.130, 0.141, 0.151, 0.156, 0.15, 0.192, 0.152),
    "litter": (0.034, 0.042, 0.056, 0.076, 0.096, 0.126, 0.141, 0.156, 0.168, 0.173, 0.16, 0.206, 0.150),
    "water": (0.031, 0.027, 0.021, 0.011, 0.008, 0.006, 0.006, 0.005, 0.005, 0.004, 0.0, 0.003, 0.002),
    "silt": (0.052, 0.062, 0.084, 0.072, 0.060, 0.038, 0.036, 0.029, 0.027, 0.019, 0.0, 0.010, 0.006),
    "asphalt": (0.070, 0.080, 0.090, 0.100, 0.107, 0.113, 0.118, 0.124, 0.130, 0.133, 0.13, 0.150, 0.140),
    "concrete": (0.160, 0.185, 0.215, 0.240, 0.252, 0.259, 0.265, 0.277, 0.282, 0.283, 0.28, 0.308, 0.284),
    "tile": (0.060, 0.070, 0.098, 0.176, 0.205, 0.225, 0.240, 0.256, 0.270, 0.276, 0.28, 0.322, 0.288),
    "metal": (0.210, 0.238, 0.262, 0.278, 0.282, 0.282, 0.280, 0.285, 0.283, 0.276, 0.27, 0.276, 0.254),
}
SPECTRA = np.array(list(ENDMEMBERS.values()))
"""float64 [endmember, band], surface reflectance"""
_INDEX = {name: i for i, name in enumerate(ENDMEMBERS)}

Peak = tuple[float, float, float, float, float]  # height, day of rise, day of fall (> 365: next year), days' slopes
_GREEN: Peak = (0.32, 88, 292, 20, 24)
_MIXTURES: dict[str, dict[str, tuple[float, tuple[Peak, ...]]]] = {
    "sea": {"silt": (0.15, ())},
    "river": {"silt": (0.50, ((0.28, 30, 120, 20, 20),))},
    "broadleaf": {"broadleaf": (0.05, ((0.90, 110, 302, 9, 11),))},
    "conifer": {"conifer": (0.90, ((0.05, 110, 300, 12, 12),))},
    "meadow": {"canopy": (0.52, ((0.36, 84, 290, 20, 24),)), "straw": (0.06, ())},
    "grass": {
        "canopy": (0.28, ((0.36, 88, 200, 18, 20),)),
        "straw": (0.16, ((0.26, 196, 300, 15, 20),)),
    },
    "wheat": {
        "canopy": (0.0, ((0.90, 75, 168, 12, 9), (0.24, 318, 440, 12, 12))),
        "straw": (0.0, ((0.75, 174, 212, 7, 6),)),
    },
    "corn": {"canopy": (0.0, ((0.92, 164, 256, 12, 9),)), "straw": (0.0, ((0.60, 264, 290, 6, 6),))},
    "rapeseed": {
        "canopy": (
            0.0,
            ((0.30, 68, 166, 12, 8), (0.55, 68, 106, 12, 5), (0.55, 138, 166, 5, 8), (0.35, 284, 434, 12, 12)),
        ),
        "blossom": (0.0, ((0.60, 106, 138, 5, 5),)),
        "straw": (0.0, ((0.70, 170, 200, 7, 6),)),
    },
    "sunflower": {
        "canopy": (0.0, ((0.70, 150, 224, 12, 8),)),
        "blossom": (0.0, ((0.30, 184, 206, 5, 5),)),
        "straw": (0.0, ((0.50, 230, 262, 7, 6),)),
    },
    "orchard": {"canopy": (0.20, ((0.42, 104, 300, 12, 12),)), "straw": (0.10, ())},
    "vineyard": {"canopy": (0.08, ((0.42, 130, 290, 12, 12),)), "straw": (0.06, ())},
    "bare": {"canopy": (0.04, ()), "straw": (0.05, ())},
    "residential": {"canopy": (0.26, (_GREEN,)), "tile": (0.12, ()), "soil": (0.06, ())},
    "industrial": {"canopy": (0.04, ((0.05, 88, 292, 20, 24),)), "concrete": (0.30, ()), "soil": (0.06, ())},
    "road": {"canopy": (0.10, ((0.10, 88, 292, 20, 24),)), "soil": (0.06, ())},
}
_REST = dict.fromkeys(CLASSES, "soil") | {
    **dict.fromkeys(("sea", "river"), "water"),
    **dict.fromkeys(("broadleaf", "conifer"), "litter"),
    **dict.fromkeys(("residential", "industrial", "road"), "asphalt"),
}

_PATH = np.array([0.108, 0.079, 0.046, 0.029, 0.024, 0.019, 0.016, 0.014, 0.012, 0.006, 0.0, 0.003, 0.002])
_THROUGH = np.array([0.80, 0.85, 0.89, 0.92, 0.93, 0.94, 0.945, 0.95, 0.955, 0.96, 1.0, 0.97, 0.98])
_GAS = np.array([0.995, 0.99, 0.955, 0.975, 0.965, 0.955, 0.985, 0.945, 0.985, 0.285, 0.0035, 0.965, 0.93])
_STRAY = np.eye(len(BANDS))[BANDS.index("B10")] * 0.0003
CLOUD = np.array([0.60, 0.60, 0.61, 0.62, 0.62, 0.63, 0.63, 0.63, 0.63, 0.63, 0.40, 0.48, 0.38])
"""float64 [band], reflectance of a thick cloud's top"""


def season(day: Array, peak: Peak) -> Array:
    """Double logistic on the circle of the year: near 0 outside, near `height` between rise and fall."""
    height, rise, fall, up, down = peak
    years = np.array([-365.0, 0.0, 365.0])
    d = np.asarray(day, dtype=float)[..., None] + years
    rising, falling = ((1 + np.tanh(x / 2)) / 2 for x in ((d - rise) / up, (fall - d) / down))
    return np.asarray(height * (rising * falling).max(axis=-1))


def abundances(day: Array, wetness: Array) -> Array:
    """Shares of the endmembers in every class, [U, class, endmember], each row sums to 1.

    `day` [U]: day of the year as the plants feel it; `wetness` [U]: share of wet soil in bare soil, 0 to 1.
    """
    shares = np.zeros((len(day), len(CLASSES), len(ENDMEMBERS)))
    for c, name in enumerate(CLASSES):
        for endmember, (base, peaks) in _MIXTURES[name].items():
            shares[:, c, _INDEX[endmember]] = base + sum(season(day, peak) for peak in peaks)
        total = shares[:, c].sum(axis=-1, keepdims=True)
        shares[:, c] *= np.minimum(1, 0.97 / np.maximum(total, 1e-9))
        shares[:, c, _INDEX[_REST[name]]] += 1 - shares[:, c].sum(axis=-1)
    soil = shares[..., _INDEX["soil"]]
    shares[..., _INDEX["wet_soil"]] = soil * wetness[:, None]
    shares[..., _INDEX["soil"]] = soil * (1 - wetness[:, None])
    return shares


def surface_spectra(day: Array, wetness: Array) -> Array:
    """Surface reflectance of every class, float64 [U, class, band]; arguments as in `abundances`."""
    return np.asarray(abundances(day, wetness) @ SPECTRA)


def endmember(name: str) -> Array:
    """Surface reflectance of one endmember, [band]."""
    return np.asarray(SPECTRA[_INDEX[name]])


def top_of_atmosphere(reflectance: Array, haze: Array | float = 1.0) -> Array:
    """L1C from surface reflectance [..., band]: path reflectance times `haze`, two-way transmission, gas absorption.

    B10 lies in a water-vapour band: nothing of the ground is left in it.
    """
    return np.asarray((_PATH * np.asarray(haze)[..., None] + _THROUGH * reflectance) * _GAS + _STRAY)


def haze_residual(haze: Array | float) -> Array:
    """What atmospheric correction leaves of haze in L2A, [..., band]; 0 for `haze` 1."""
    return np.asarray(0.25 * (np.asarray(haze)[..., None] - 1) * _PATH)
