"""Bands by name: sensors, channel orders of published data, groups, substitutes, and bands across sensors.

Names come in, positions go out. Where a band is missing, its documented substitute is taken and a `BandWarning` says
so, or a ConfigError names what is there and what is needed; no position is ever guessed.
"""

from nearfar.spatial.band_groups import Groups, group_set, groups_for, positions
from nearfar.spatial.band_plan import BandPlan, BandWarning, resolve, translate
from nearfar.spatial.published import band_order, dataset_sensor, stats
from nearfar.spatial.sensors import Band, Sensor, sensor

__all__ = [
    "Band",
    "BandPlan",
    "BandWarning",
    "Groups",
    "Sensor",
    "band_order",
    "dataset_sensor",
    "group_set",
    "groups_for",
    "positions",
    "resolve",
    "sensor",
    "stats",
    "translate",
]
