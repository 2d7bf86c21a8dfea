"""Published data sets of satellite images: their channel order, their sensor, their statistics by band name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.spatial.sensors import Sensor, catalogue, sensor, unknown


def band_order(dataset: str) -> tuple[str, ...]:
    """Canonical band names in the order of a data set's channels, or of its files by name. Raises ConfigError."""
    return tuple(dataset_entry(dataset)["order"])


def dataset_sensor(dataset: str) -> Sensor:
    """The sensor of a data set, with the scale and nodata value of its files. Raises ConfigError for an unknown set."""
    entry = dataset_entry(dataset)
    return replace(sensor(entry["sensor"]), **{key: entry[key] for key in ("scale", "nodata") if key in entry})


def stats(names: Sequence[str], of: Sensor | str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(mean [C], standard deviation [C]) of the named bands in digital numbers, or None where one is unknown.

    of: a data set by name, or a sensor. A data set has its own statistics or none, never its sensor's: measure those.
    Raises ConfigError for an unknown band or data set.
    """
    source = of if isinstance(of, Sensor) else dataset_sensor(of)
    known = source.statistics if isinstance(of, Sensor) else dataset_entry(of).get("statistics")
    wanted = [source.canonical(name) for name in names]
    if not known or any(name not in known for name in wanted):
        return None
    table = np.array([known[name] for name in wanted], np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def dataset_entry(name: str) -> Mapping[str, Any]:
    """What `sensors.yaml` says of a data set. Raises ConfigError, with the nearest name, for an unknown one."""
    known: Mapping[str, Mapping[str, Any]] = catalogue()["datasets"]
    if name not in known:
        raise unknown("data set", name, list(known))
    return known[name]
