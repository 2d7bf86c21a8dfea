"""The encoder of multispectral images: groups of bands by name, and their textures, through one shared backbone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels, band_names
from nearfar.encoders.backbone import Backbone
from nearfar.encoders.grouped import GroupEncoder, GroupFeatures
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError
from nearfar.spatial.bands import group_set, groups_for, positions, resolve
from nearfar.spatial.sensors import Sensor, catalogue, sensor, unknown
from nearfar.spatial.texture import local_binary_pattern

Groups = dict[str, tuple[str, ...]]
"""name of a group -> its bands"""


class BandEncoder(ImageEncoder):
    """Reflectance [B, C, H, W] -> features [B, feature_dim], the mean over groups of bands (SACo, Stival et al. 2025).

    `config.groups` names a set of groups of three bands each; every group passes the same backbone, all in one stacked
    pass, each normalised by batch statistics of its own, in evaluation by running ones of its own. With
    `config.textures` local binary patterns of the bands form further groups: `config.texture_points` neighbours at
    `config.texture_radius` pixels, on whole numbers, reflectance times `config.texture_scale`. They are computed after
    resizing, before normalisation, and carry no gradient.

    Groups are resolved by band name; a band that the images lack is replaced by the sensor's documented substitute,
    with a warning. Attributes beside those of `ImageEncoder`: `sensor`, `groups` and `textures`, name -> the bands that
    are really used. Raises ConfigError for an unknown set, a missing band without substitute, textures without groups.
    """

    sensor: Sensor
    groups: Groups
    textures: Groups
    body: GroupEncoder

    def _body(self) -> GroupEncoder:
        config, names = self.config, band_names(self.channels)
        if not config.groups:
            raise ConfigError("textures need groups of bands", where="encoder.groups", found="none", fix="Use saco.")
        if config.fusion == "late":
            raise ConfigError(
                "groups share one backbone", where="encoder.fusion", found="late", fix="Use early fusion, or no groups."
            )
        self.sensor = sensor(config.sensor) if config.sensor else sensor_of(names)
        wanted = named_groups(config.groups, self.sensor, names)
        plans = {name: resolve(bands, names, self.sensor) for name, bands in wanted.items()}
        self.groups = {name: plan.names for name, plan in plans.items()}
        self.textures = groups_for(self.sensor, names, "textures") if config.textures else {}
        textures = positions(self.textures, names, self.sensor)
        self._textured = sorted({position for group in textures for position in group})
        return GroupEncoder(
            Backbone(config, 3),
            [plan.indices for plan in plans.values()],
            [[self._textured.index(position) for position in group] for group in textures],
            running="separate",
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, feature_dim], the mean over the groups."""
        return self.features(x).pooled

    def features(
        self,
        x: Tensor,
        textures: Tensor | None = None,
        *,
        pyramid: bool = False,
        resize: bool | None = None,
        side_by_side: bool = False,
    ) -> GroupFeatures:
        """As `ImageEncoder.features`, of every group; `textures` [B, T, h, w] are made from x where not given."""
        sized = self._sized(x, self._resizes(pyramid, resize))
        result: GroupFeatures = self.body(
            self._normalised(sized), self._textures(sized, textures), pyramid=pyramid, side_by_side=side_by_side
        )
        return result

    def dense(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D, h, w]: the last stage's map, the mean over the groups."""
        sized = self._sized(x, True)
        return self.body.dense(self._normalised(sized), self._textures(sized, None))

    def stages(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> maps of the last three stages, from fine to coarse, the mean over the groups."""
        sized = self._sized(x, True)
        return self.body.stages(self._normalised(sized), self._textures(sized, None))

    @torch.no_grad()
    def texture_maps(self, x: Tensor) -> Tensor:
        """Reflectance [B, C, H, W] -> uniform local binary patterns of the textures' bands [B, T, H, W], 0 to 1."""
        numbers = (x[:, self._textured].double() * self.config.texture_scale).round().to(torch.int32)
        points = self.config.texture_points
        # Compiling pays in training alone; afterwards "auto" takes what is compiled.
        compiled = self.training and x.device.type == "cpu" and find_spec("numba") is not None
        codes = local_binary_pattern(
            numbers, points, self.config.texture_radius, backend="numba" if compiled else "auto"
        )
        return codes.to(x.dtype) / (points + 1)

    def description(self) -> dict[str, Any]:
        """What the encoder's file says of groups: `sensor`, `groups` and `textures`, all by name."""
        return {"sensor": self.sensor.name, "groups": self.groups, "textures": self.textures}

    def _textures(self, sized: Tensor, given: Tensor | None) -> Tensor | None:
        return self.texture_maps(sized) if given is None and self.textures else given


def sensor_of(names: Sequence[str]) -> Sensor:
    """The built-in sensor that has all the named bands and fewest others, best by exactly these names. ConfigError."""
    known = [sensor(name) for name in catalogue()["sensors"]]
    same = [other for other in known if set(names) <= set(other.names)]
    alike = [other for other in known if all(other.find(name) for name in names)]
    if not same + alike:
        raise ConfigError(
            "no built-in sensor has these bands", where="encoder.sensor", found=", ".join(names), fix="Name the sensor."
        )
    return min(same or alike, key=lambda other: len(other.bands))


def named_groups(name: str, of: Sensor, names: Sequence[str]) -> Groups:
    """The groups of bands that `encoder.groups` names, for images with the bands `names` of a sensor.

    "saco": all of the sensor's that the bands allow. "saco_reference_seco", "saco_reference_eurosat": those that SACo's
    published code takes. The name of one of the sensor's groups, such as "natural" (red, green, blue): that one alone.
    """
    if name == "saco":
        return groups_for(of, names)
    reference, _, dataset = name.rpartition("_")
    if reference == "saco_reference":
        return group_set(reference, dataset)
    if name not in of.groups:
        raise unknown("set of groups", name, ["saco", "saco_reference_seco", "saco_reference_eurosat", *of.groups])
    return {name: of.groups[name]}


def build_encoder(
    config: EncoderConfig, channels: Channels, mean: Tensor | None = None, std: Tensor | None = None
) -> ImageEncoder:
    """The encoder that a configuration describes: a `BandEncoder` where it asks for groups, else an `ImageEncoder`."""
    kind = BandEncoder if config.groups or config.textures else ImageEncoder
    return kind(config, channels, mean, std)
