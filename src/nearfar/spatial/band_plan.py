"""From the bands that are wanted to positions in the data that is there, by name and across sensors by wavelength."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from nearfar.errors import ConfigError
from nearfar.spatial.sensors import Band, Sensor, sensor

Missing = Literal["substitute", "error"]
SAME = 0.05
"""bands of two sensors see the same where the logarithms of their wavelengths differ by at most this"""


class BandWarning(UserWarning):
    """Another band than the wanted one is used, or a group of bands is left out."""


@dataclass(frozen=True)
class BandPlan:
    """Where the wanted bands are.

    indices: channel positions in the data, in the order wanted. names: canonical names, of the data's sensor, of what
    is there. substituted: (wanted, used) for every wanted band that another stands in for.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    substituted: tuple[tuple[str, str], ...] = ()


def resolve(
    wanted: Sequence[str],
    available: Sequence[str],
    sensor: Sensor | str,
    missing: Missing = "substitute",
    *,
    wanted_sensor: Sensor | str | None = None,
) -> BandPlan:
    """Positions of the wanted bands among the channels of the data.

    available: names or file names of the channels in order; what is no band of `sensor` is passed over. wanted: bands
    of `wanted_sensor`, where that is another one: they are found by wavelength, as in `translate`. A missing band gets
    its substitute, or the substitute's, and one BandWarning names all of them; `missing="error"` takes none.

    Raises ConfigError where a band and its substitutes are missing, a name is unknown, or two channels are one band.
    """
    target = as_sensor(sensor)
    source = target if wanted_sensor is None else as_sensor(wanted_sensor)
    have = channels_by_band(available, target)
    wanted = [source.canonical(name) for name in wanted]
    used = {name: find_among(have, name, source, target, missing) for name in wanted}
    found = {name: other for name, other in used.items() if other is not None}
    if len(found) < len(used):
        raise ConfigError(
            f"the data lacks {', '.join(name for name in used if name not in found)}"
            + (" and all that could stand in" if missing == "substitute" else ""),
            where=source.name,
            found=", ".join(have) or "no band",
            expected=", ".join(used),
        )
    swapped = tuple((name, other) for name, other in found.items() if other != _counterpart(name, source, target))
    tell(source, swapped)
    names = tuple(found[name] for name in wanted)
    return BandPlan(tuple(have[name] for name in names), names, swapped)


def translate(band: str, from_sensor: Sensor | str, to_sensor: Sensor | str, missing: Missing = "substitute") -> str:
    """The band of `to_sensor` that sees what `band` of `from_sensor` sees: the nearest wavelength, at most 5 % away.

    Where there is none, the first of the band's substitutes that has one is taken, with a BandWarning: the red edge of
    Sentinel-2 becomes red (B05) and near infrared (B06, B07) of Landsat. Raises ConfigError where there is none either,
    or with `missing="error"`.
    """
    source, target = as_sensor(from_sensor), as_sensor(to_sensor)
    band = source.canonical(band)
    found = find_among(target.names, band, source, target, missing)
    if found is None:
        what = f"{target.name} has no counterpart of {band}" + (" or its substitutes" if missing != "error" else "")
        raise ConfigError(
            what, where=source.name, found=", ".join(f"{b.name} {b.wavelength_nm:g} nm" for b in target.bands)
        )
    if found != _counterpart(band, source, target):
        tell(source, ((band, found),))
    return found


def as_sensor(name: Sensor | str) -> Sensor:
    """The sensor itself, or the one of that name or YAML path."""
    return name if isinstance(name, Sensor) else sensor(name)


def channels_by_band(available: Sequence[str], sensor: Sensor) -> dict[str, int]:
    """Canonical name -> position of the channels that are bands of the sensor. ConfigError for two of one band."""
    have: dict[str, int] = {}
    for i, name in enumerate(available):
        band = sensor.find(name)
        if band is not None and have.setdefault(band, i) != i:
            found = f"{available[have[band]]} and {name}"
            raise ConfigError(f"two channels are {band}", where=sensor.name, found=found, expected="each band once")
    return have


def find_among(have: Collection[str], band: str, source: Sensor, target: Sensor, missing: Missing) -> str | None:
    """The band of `target` among `have` that is `band` of `source`, or else stands in for it, or None."""
    if missing not in get_args(Missing):
        expected = " or ".join(get_args(Missing))
        raise ConfigError("unknown way with missing bands", where="missing", found=repr(missing), expected=expected)
    for candidate in source.stand_ins(band):
        direct = _counterpart(candidate, source, target)
        for other in target.stand_ins(direct) if direct is not None else ():
            if other in have and (missing == "substitute" or other == direct):
                return other
        if missing == "error":
            return None
    return None


def apart(a: Band, b: Band) -> float:
    """Distance of two wavelengths: the absolute difference of their logarithms."""
    return abs(math.log(a.wavelength_nm / b.wavelength_nm))


def tell(sensor: Sensor, swapped: Sequence[tuple[str, str]], left_out: Sequence[str] = ()) -> None:
    """One BandWarning to the caller's caller, where there is something to tell."""
    parts = [", ".join(f"{used} stands in for {wanted}" for wanted, used in swapped)] if swapped else []
    parts += [f"groups left out for lack of bands: {', '.join(left_out)}"] if left_out else []
    if parts:
        warnings.warn(f"{sensor.name}: {'; '.join(parts)}", BandWarning, stacklevel=3)


def _counterpart(band: str, source: Sensor, target: Sensor) -> str | None:
    if source == target:
        return band
    if band not in source.names:
        return None
    own = source.band(band)
    nearest = min(target.bands, key=lambda other: apart(own, other))
    return nearest.name if apart(own, nearest) <= SAME else None
