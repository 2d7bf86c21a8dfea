"""Groups of three bands, by name, for the data of any sensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Literal

from nearfar.errors import ConfigError
from nearfar.spatial.band_plan import Missing, apart, as_sensor, channels_by_band, find_among, resolve, tell
from nearfar.spatial.published import dataset_entry, dataset_sensor
from nearfar.spatial.sensors import Band, Sensor, catalogue, sensor, unknown

Group = tuple[str, ...]
Groups = dict[str, Group]
NEAR = 0.2
"""largest difference of the logarithms of two wavelengths at which one band takes the other's part in a theme"""


def group_set(name: str = "saco", of: Sensor | str = "sentinel2_l1c") -> Groups:
    """A declared set of groups, name -> three bands.

    "saco": the groups of a sensor; of Sentinel-2 the seven in SACo's README. "saco_reference": what SACo's published
    code takes from the data set "seco", "caco" or "eurosat", in its order of passes. "textures": the four groups of
    Sentinel-2 whose local binary patterns SACo takes. of: a sensor, or a sensor or data set by name; "textures" does
    not need it.

    Raises ConfigError for an unknown name, or a data set for which the published code says no groups.
    """
    if name == "saco":
        return dict(_sensor_of(of).groups)
    if name == "textures":
        return {label: tuple(bands) for label, bands in catalogue()["textures"].items()}
    if name != "saco_reference":
        raise unknown("group set", name, ("saco", "saco_reference", "textures"))
    known = [key for key, entry in catalogue()["datasets"].items() if name in entry]
    if of not in known:
        found = of.name if isinstance(of, Sensor) else of
        raise ConfigError("the published code says no groups", where=name, found=found, expected=", ".join(known))
    return {label: tuple(bands) for label, bands in dataset_entry(str(of))[name].items()}


def groups_for(sensor: Sensor | str, available: Sequence[str], name: Literal["saco", "textures"] = "saco") -> Groups:
    """Groups of three bands that the data has, name -> canonical names, for any sensor.

    Declared groups (`group_set`) are taken, with substitutes for missing bands. A group that still lacks a band, or
    would hold one twice, is left out. One BandWarning tells both. Where no group is declared, or none is left:

    - "saco": the themes of Sentinel-2 with each band replaced by the nearest in wavelength that the group does not hold
      yet: nearest pairs first, at most 20 % apart, no set of bands twice. Then the bands that are in no theme, by
      wavelength, three at a time: extra_1, extra_2, ...
    - "textures": all bands by wavelength, three at a time: lbp_0, lbp_1, ...

    A last group of fewer than three is filled up with the nearest bands; data of one or two bands repeats them. Raises
    ConfigError for an unknown set, and for data without a band of the sensor.
    """
    source = as_sensor(sensor)
    have = channels_by_band(available, source)
    order = sorted((band for band in source.bands if band.name in have), key=lambda band: band.wavelength_nm)
    if not order:
        found, expected = ", ".join(available) or "no channel", ", ".join(source.names)
        raise ConfigError("the data has no band of the sensor", where=source.name, found=found, expected=expected)
    declared = _declared(name, source)
    formed = {label: _formed(group, source, have) for label, group in declared.items()}
    groups = {label: group for label, group in formed.items() if group is not None}
    if not groups:
        return _themes(order) if name == "saco" else _in_threes(order, order, "lbp_", 0)
    pairs = dict.fromkeys(pair for label in groups for pair in zip(declared[label], groups[label], strict=True))
    left_out = [label for label in declared if label not in groups]
    tell(source, [(wanted, used) for wanted, used in pairs if wanted != used], left_out)
    return groups


def positions(
    groups: Mapping[str, Sequence[str]], available: Sequence[str], sensor: Sensor | str, missing: Missing = "substitute"
) -> tuple[tuple[int, ...], ...]:
    """Channel positions of every group, in the order of the mapping, as `GroupEncoder` takes them. See `resolve`."""
    flat = [band for group in groups.values() for band in group]
    indices = iter(resolve(flat, available, sensor, missing).indices)
    return tuple(tuple(next(indices) for _ in group) for group in groups.values())


def _sensor_of(of: Sensor | str) -> Sensor:
    return dataset_sensor(of) if isinstance(of, str) and of in catalogue()["datasets"] else as_sensor(of)


def _declared(name: str, source: Sensor) -> Groups:
    if name == "saco":
        return source.groups
    if name != "textures":
        raise unknown("group set", name, ("saco", "textures"))
    textures = group_set("textures")
    return textures if {band for group in textures.values() for band in group} <= set(source.names) else {}


def _formed(group: Group, source: Sensor, have: Collection[str]) -> Group | None:
    found = [find_among(have, band, source, source, "substitute") for band in group]
    names = tuple(name for name in found if name is not None)
    return names if len(set(names)) == len(group) else None


def _themes(order: Sequence[Band]) -> Groups:
    model = sensor("sentinel2_l1c")
    groups: Groups = {}
    for label, bands in model.groups.items():
        names = _nearest([model.band(band) for band in bands], order)
        if len(names) == len(bands) and set(names) not in map(set, groups.values()):
            groups[label] = names
    held = {name for group in groups.values() for name in group}
    return groups | _in_threes([band for band in order if band.name not in held], order, "extra_", 1)


def _nearest(wanted: Sequence[Band], order: Sequence[Band]) -> Group:
    pairs = [(apart(wanted[i], band), i, band.name) for i, band in product(range(len(wanted)), order)]
    taken: dict[int, str] = {}
    for distance, i, name in sorted(pairs):
        if distance <= NEAR and i not in taken and name not in taken.values():
            taken[i] = name
    return tuple(taken[i] for i in sorted(taken))


def _in_threes(bands: Sequence[Band], order: Sequence[Band], prefix: str, start: int) -> Groups:
    chunks = [list(bands[i : i + 3]) for i in range(0, len(bands), 3)]
    return {f"{prefix}{i}": _filled(chunk, order) for i, chunk in enumerate(chunks, start)}


def _filled(chunk: list[Band], order: Sequence[Band]) -> Group:
    others = sorted((band for band in order if band not in chunk), key=lambda band: apart(band, chunk[0]))
    full = sorted((chunk + others)[:3], key=lambda band: band.wavelength_nm)
    return tuple(([band.name for band in full] * 3)[:3])
