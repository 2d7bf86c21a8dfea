"""Sensors as data: their bands, band groups, substitutes and scale, built in or from a user's small YAML file.

Digital numbers become reflectance by `(DN + offset) / scale`. The schema of a YAML file is that of `sensors.yaml`
beside this module: `bands` (name -> wavelength_nm, resolution_m and optionally aliases), and optionally `name`,
`groups` (name -> three bands), `substitutes` (band -> the band that stands in for it), `statistics` (band -> [mean,
standard deviation], in digital numbers), `scale`, `offset` and `nodata`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import ConfigError, did_you_mean
from nearfar.spatial.yamltext import mapping, number, only, pair, parse_yaml, text, texts

_EXTENSION = re.compile(r"\.(tiff?|jp2|png|jpe?g|npy|img|vrt)$", re.IGNORECASE)
_RESOLUTION = re.compile(r"[_.\-]\d+m$", re.IGNORECASE)
_CODE = re.compile(r"(?:^|[^A-Za-z0-9])([A-Za-z]{1,2}\d{1,2}[A-Za-z]?)$")


@dataclass(frozen=True)
class Band:
    """A band: its canonical name, centre wavelength, pixel size on the ground, and other names it goes by."""

    name: str
    wavelength_nm: float
    resolution_m: float
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sensor:
    """What is known of a sensor's images, every band by name.

    bands: in the usual order. groups: name -> three band names. substitutes: a band -> the band that stands in for it
    where it is missing; the key may be a band that the sensor never has (B10 of Sentinel-2 L2A). statistics: band ->
    (mean, standard deviation) in digital numbers, None where unknown. scale, offset: reflectance = (DN + offset) /
    scale, so that without an offset `scale` is the DN of reflectance 1. nodata: the DN of pixels without data.

    Raises ConfigError, naming the key, for two bands that share a name, an unknown band in groups, substitutes or
    statistics, a group that has not three different bands, or a number that makes no sense.
    """

    name: str
    bands: tuple[Band, ...]
    groups: dict[str, tuple[str, ...]]
    substitutes: dict[str, str]
    statistics: dict[str, tuple[float, float]] | None = None
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None

    def __post_init__(self) -> None:
        _check_bands(self.bands)
        _check_names(self)
        _check_numbers(self)

    @classmethod
    def from_yaml(cls, path: Path | str) -> Sensor:
        """A user's sensor. ConfigError, naming file and key, for bad YAML and all that the class refuses."""
        path = Path(path)
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the sensor's file cannot be read: {error}", where=path) from None
        with _prefixed(path):
            return _sensor(path.stem, parse_yaml(content))

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names of all bands, in order."""
        return tuple(band.name for band in self.bands)

    def find(self, name: str) -> str | None:
        """Canonical name of the band meant by a name, an alias or a file name, or None.

        Case, blanks, `_`, `-` and leading zeros do not count: "B2", "b02", "blue", "B02.tif", "T33UUP_B02_10m.jp2" and
        "s2.B02" are B02 of Sentinel-2. Of a longer file name only a code at its end counts ("B02"), never a word: the
        band of "infra_red.tif" is not red.
        """
        stem = _EXTENSION.sub("", str(name).replace("\\", "/").rpartition("/")[2].strip())
        stem = _RESOLUTION.sub("", stem)
        code = _CODE.search(stem)
        tries = [stem, stem.rpartition(".")[2], code.group(1) if code else ""]
        return next((self._table[key] for key in map(_key, tries) if key in self._table), None)

    def canonical(self, name: str) -> str:
        """As `find`; an unknown name raises ConfigError with the nearest one."""
        found = self.find(name)
        if found is None:
            known = [*self.names, *(alias for band in self.bands for alias in band.aliases)]
            fix = did_you_mean(name, known)
            what = f"{self.name} has no band {name!r}"
            raise ConfigError(what, where="band", expected=", ".join(self.names), fix=fix)
        return found

    def band(self, name: str) -> Band:
        """The band of that name; ConfigError as `canonical`, and for a band that only has a substitute."""
        found = self.canonical(name)
        for band in self.bands:
            if band.name == found:
                return band
        fix = f"{self.substitutes[found]} stands in for it."
        raise ConfigError(f"{self.name} never has {found}", where="band", expected=", ".join(self.names), fix=fix)

    def stand_ins(self, name: str) -> Iterator[str]:
        """The band itself and then, in order, the bands that may stand in for it: substitutes, theirs, and so on."""
        current: str | None = self.canonical(name)
        seen: set[str] = set()
        while current is not None and current not in seen:
            yield current
            seen.add(current)
            current = self.substitutes.get(current)

    def reflectance(self, dn: ArrayLike) -> NDArray[np.float32]:
        """Digital numbers, any shape, as reflectance: (DN + offset) / scale."""
        return np.asarray((np.asarray(dn, np.float32) + np.float32(self.offset)) / np.float32(self.scale), np.float32)

    @cached_property
    def _table(self) -> dict[str, str]:
        table = {_key(absent): absent for absent in self.substitutes}
        return table | {_key(n): band.name for band in self.bands for n in (band.name, *band.aliases)}


def sensor(name: str | Path) -> Sensor:
    """A built-in sensor by name, or a user's by the path of its YAML file. ConfigError, with the nearest name."""
    if isinstance(name, Path) or name.endswith((".yaml", ".yml")):
        return Sensor.from_yaml(name)
    known, same = catalogue()["sensors"], catalogue()["same"]
    own: str = same.get(name, name)
    if own not in known:
        raise unknown("sensor", own, [*known, *same])
    return _sensor(own, known[own])


def unknown(kind: str, name: str, known: Sequence[str]) -> ConfigError:
    """The error for a name that does not exist, with the nearest one that does."""
    fix = did_you_mean(name, known)
    return ConfigError(f"unknown {kind} {name!r}", where=kind, expected=", ".join(known), fix=fix)


@cache
def catalogue() -> Mapping[str, Any]:
    """`sensors.yaml` as it stands: sensors, same, datasets, textures. Not to be changed."""
    return parse_yaml(files("nearfar.spatial").joinpath("sensors.yaml").read_text(encoding="utf-8"))


@contextmanager
def _prefixed(path: Path) -> Iterator[None]:
    try:
        yield
    except ConfigError as e:
        raise ConfigError(e.what, where=f"{path}: {e.where}", found=e.found, expected=e.expected, fix=e.fix) from None


def _sensor(name: str, tree: Mapping[str, Any]) -> Sensor:
    only(tree, [field.name for field in fields(Sensor)], "")
    if not tree.get("bands"):
        raise ConfigError("the sensor has no bands", where="bands", expected="name -> wavelength_nm, resolution_m")
    parts = {key: mapping(tree.get(key) or {}, key) for key in ("bands", "groups", "substitutes", "statistics")}
    return Sensor(
        name=text(tree.get("name", name), "name"),
        bands=tuple(_band(band, parts["bands"][band]) for band in parts["bands"]),
        groups={group: texts(bands, f"groups.{group}") for group, bands in parts["groups"].items()},
        substitutes={band: text(other, f"substitutes.{band}") for band, other in parts["substitutes"].items()},
        statistics={band: pair(both, f"statistics.{band}") for band, both in parts["statistics"].items()} or None,
        scale=number(tree.get("scale", 1.0), "scale"),
        offset=number(tree.get("offset", 0.0), "offset"),
        nodata=None if tree.get("nodata") is None else number(tree["nodata"], "nodata"),
    )


def _band(name: str, tree: Any) -> Band:
    where = f"bands.{name}"
    tree = mapping(tree, where)
    only(tree, [field.name for field in fields(Band) if field.name != "name"], f"{where}.")
    wavelength, resolution = (number(tree.get(key), f"{where}.{key}") for key in ("wavelength_nm", "resolution_m"))
    return Band(name, wavelength, resolution, texts(tree.get("aliases", ()), f"{where}.aliases"))


def _key(name: str) -> str:
    text = re.sub(r"[\s_\-]+", "", name).casefold()
    found = re.fullmatch(r"b0*(\d+)(a?)", text)
    return f"b{found[1]}{found[2]}" if found else text


def _check_bands(bands: Sequence[Band]) -> None:
    if not bands:
        raise ConfigError("the sensor has no bands", where="bands")
    owner: dict[str, str] = {}
    for band in bands:
        for name in (band.name, *band.aliases):
            other = owner.setdefault(_key(name), band.name)
            if other != band.name:
                raise ConfigError(f"{name!r} names two bands", where=f"bands.{band.name}", found=f"{other} has it too")
        for key in ("wavelength_nm", "resolution_m"):
            _positive(getattr(band, key), f"bands.{band.name}.{key}")


def _check_names(sensor: Sensor) -> None:
    names = sensor.names
    if len(set(names)) < len(names):
        raise ConfigError("a band is there twice", where="bands", found=", ".join(names))
    for absent, other in sensor.substitutes.items():
        _known(other, names, f"substitutes.{absent}")
        if other == absent:
            raise ConfigError("a band cannot stand in for itself", where=f"substitutes.{absent}")
    for group, bands in sensor.groups.items():
        if len(bands) != 3 or len(set(bands)) != 3:
            found = ", ".join(bands)
            raise ConfigError("a group has three different bands", where=f"groups.{group}", found=found)
        for band in bands:
            _known(band, (*names, *sensor.substitutes), f"groups.{group}")
    for band in sensor.statistics or {}:
        _known(band, names, f"statistics.{band}")


def _known(band: str, names: Sequence[str], where: str) -> None:
    if band not in names:
        fix = did_you_mean(band, names)
        raise ConfigError(f"there is no band {band!r}", where=where, expected=", ".join(names), fix=fix)


def _check_numbers(sensor: Sensor) -> None:
    _positive(sensor.scale, "scale")
    if not math.isfinite(sensor.offset):
        raise ConfigError("not a finite number", where="offset", found=sensor.offset)
    for band, (mean, std) in (sensor.statistics or {}).items():
        _positive(std, f"statistics.{band}")
        if not math.isfinite(mean):
            raise ConfigError("not a finite number", where=f"statistics.{band}", found=mean)


def _positive(value: float, where: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError("not a positive number", where=where, found=value)
