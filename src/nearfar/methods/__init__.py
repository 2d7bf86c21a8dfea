"""Methods: one file each. Nothing is imported before a method is asked for by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from nearfar.config import EncoderConfig, MethodConfig, RunConfig, ViewsConfig
from nearfar.errors import ConfigError, did_you_mean
from nearfar.presets import METHODS, PRESETS

if TYPE_CHECKING:
    from torch import Tensor

    from nearfar.data.sample import Channels
    from nearfar.methods.base import Method

__all__ = ["build_method", "create", "load_method_class"]

C = TypeVar("C")


def load_method_class(name: str) -> type[Method]:
    """The class of a method by its name in `nearfar.presets.METHODS`. ConfigError for an unknown name."""
    _require_known(name, METHODS, "method")
    module, _, attribute = METHODS[name].target.partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


def build_method(
    config: RunConfig[Any], channels: Channels, mean: Tensor | None = None, std: Tensor | None = None
) -> Method:
    """The method that a run's configuration describes, for images with `channels`, normalised by mean and std [C].

    Raises ConfigError for an unknown preset or a method section of another method.
    """
    from nearfar.encoders.bands import build_encoder

    _require_known(config.preset, PRESETS, "preset")
    kind = load_method_class(PRESETS[config.preset].method)
    if not isinstance(config.method, kind.Config):
        raise ConfigError(
            f'the preset "{config.preset}" has another method section',
            where="method",
            found=type(config.method).__name__,
            expected=kind.Config.__name__,
        )
    return kind(config.method, build_encoder(config.encoder, channels, mean, std), config.views)


def create(
    preset: str,
    *,
    channels: int | Channels = 3,
    size: int = 64,
    encoder: str | EncoderConfig = "nano_cnn",
    views: ViewsConfig | None = None,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    **options: Any,
) -> Method:
    """A method ready to train, without files: `nearfar.create("disco", channels=3, size=64)`.

    `channels` is a number or a `Channels`; `encoder` a model name or an `EncoderConfig` (whose size then counts);
    `options` are fields of the method's own configuration, such as temperature. Names that do not exist raise
    ConfigError with the nearest ones.
    """
    from nearfar.data.dataset import default_channels

    _require_known(preset, PRESETS, "preset")
    kind, overrides = load_method_class(PRESETS[preset].method), PRESETS[preset].overrides
    if isinstance(encoder, str):
        encoder = _filled(EncoderConfig(encoder, size=size), _section(overrides, "encoder"))
    method: MethodConfig = _filled(kind.Config(), {**_section(overrides, "method"), **options})
    config = RunConfig(
        preset=preset,
        method=method,
        views=views if views is not None else _filled(ViewsConfig(), _section(overrides, "views")),
        encoder=encoder,
    )
    return build_method(config, default_channels(channels) if isinstance(channels, int) else channels, mean, std)


def _section(overrides: Mapping[str, Any], name: str) -> dict[str, Any]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}


def _filled(config: C, options: Mapping[str, Any]) -> C:
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    for name in options:
        _require_known(name, names, f"option of {type(config).__name__}")
    return dataclasses.replace(config, **options)  # type: ignore[type-var]


def _require_known(name: str, known: Iterable[str], kind: str) -> None:
    known = list(known)
    if name in known:
        return
    fix = did_you_mean(name, known, f"There are: {', '.join(known)}.", quote='"')
    raise ConfigError(f'there is no {kind} "{name}"', fix=fix)
