"""One network over some channels: any timm model or a built-in one, with its spatial features and attention maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nearfar.config import EncoderConfig
from nearfar.encoders.crop_cnn import CropCNN
from nearfar.encoders.fourier import FourierEncoder
from nearfar.encoders.mode import evaluating
from nearfar.encoders.nano import NanoCNN, nano_vit
from nearfar.encoders.weights import load_weights
from nearfar.errors import ConfigError, did_you_mean

BUILT_IN = ("nano_cnn", "nano_vit", "crop_cnn", "cnn_ffc")


def build(config: EncoderConfig, channels: int) -> nn.Module:
    """The bare network for `channels` input channels, without classifier, filled from `config.weights` if set.

    Raises ConfigError for an unknown name or an option the model does not take.
    """
    options: dict[str, Any] = dict(config.options)
    try:
        model = _construct(config.name, channels, config.size, options)
    except (TypeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"{config.name} cannot be built for {channels} channels of {config.size} pixels: {error}",
            where="encoder.options",
            found=options or "no options",
            fix=_without_options(config.name) if options and isinstance(error, TypeError) else None,
        ) from error
    if config.weights is not None:
        load_weights(model, config.weights)
    return model


def _without_options(name: str) -> str:
    # Flags can change the options of a preset, not remove them.
    remedy = f"encoder: {{name: {name}, options: {{}}}}"
    return f"Options of a preset for another encoder are taken away in a --config FILE: {remedy}."


def _construct(name: str, channels: int, size: int, options: dict[str, Any]) -> nn.Module:
    if name == "nano_cnn":
        return NanoCNN(channels, **options)
    if name == "nano_vit":
        return cast(nn.Module, nano_vit(channels, size, **options))
    if name == "crop_cnn":
        return CropCNN(channels, size, **options)
    if name == "cnn_ffc":
        return FourierEncoder(channels, **options)
    if not timm.is_model(name):
        raise _unknown(name)
    described = timm.get_pretrained_cfg(name)
    if described is not None and described.fixed_input_size:
        options = {"img_size": size, **options}
    return timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0, **options)


def _unknown(name: str) -> ConfigError:
    fix = did_you_mean(name, [*BUILT_IN, *timm.list_models()], "timm.list_models() names them all.", most=3)
    return ConfigError(f'there is no encoder "{name}"', where="encoder.name", fix=fix)


class Backbone(nn.Module):
    """A network over `channels` channels at a fixed input size.

    Attributes: `model` (the timm module), `feature_dim`, `prefix_tokens` (class and register tokens before the
    patches), `grid` (rows and columns of patches; None for networks without patch tokens).
    """

    def __init__(self, config: EncoderConfig, channels: int) -> None:
        super().__init__()
        self.name = config.name
        self.model = build(config, channels)
        self.feature_dim = int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)  # type: ignore[arg-type]
        self.prefix_tokens = int(getattr(self.model, "num_prefix_tokens", 0))
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        self.grid: tuple[int, int] | None = tuple(grid) if grid is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, feature_dim]."""
        return cast(Tensor, self.model(x))

    def dense(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, D, h, w], the last stage before pooling."""
        features = self.model.forward_features(x)  # type: ignore[operator]
        if features.ndim == 3 and self.grid is not None:
            features = features[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, self.grid)
        elif features.ndim == 4 and getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            features = features.permute(0, 3, 1, 2)
        if features.ndim != 4:
            raise ConfigError(
                f"{self.name} has no map of spatial features",
                where="encoder.name",
                found=f"features of shape {tuple(features.shape)}",
                fix="Use a convolutional network or a ViT.",
            )
        return cast(Tensor, features)

    def stages(self, x: Tensor) -> list[Tensor]:
        """[B, C, S, S] -> maps [B, D_i, h_i, w_i] of the last three stages (blocks of a ViT), the last one last.

        A network with fewer gives those it has.
        """
        if isinstance(self.model, NanoCNN):
            return self.model.stages(x)
        if not hasattr(self.model, "forward_intermediates"):
            raise ConfigError(
                f"{self.name} does not give its stages", where="encoder.name", fix="Use a ResNet or a ViT."
            )
        blocks = getattr(self.model, "blocks", None)
        last = 3 if blocks is None else min(3, len(blocks))
        return list(self.model.forward_intermediates(x, indices=last, intermediates_only=True))  # type: ignore[operator]

    def pyramid(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, C, H, W] -> features [B, feature_dim] and the maps of all stages from fine to coarse, in one pass."""
        if not (hasattr(self.model, "forward_intermediates") and hasattr(self.model, "forward_head")):
            raise ConfigError(
                f"{self.name} does not give its stages", where="encoder.name", fix="Use a ResNet, nano_cnn or a ViT."
            )
        last, maps = self.model.forward_intermediates(x)  # type: ignore[operator]
        return self.model.forward_head(last), list(maps)  # type: ignore[operator]

    @torch.no_grad()
    def attention(self, x: Tensor) -> list[Tensor]:
        """[B, C, S, S] -> softmax attention [B, heads, T, T] of every block, in evaluation mode.

        The hooks and the unfused attention they need exist only inside the call. Raises ConfigError for networks
        that are not plain transformers.
        """
        layers = self._attention_layers()
        with evaluating(self), _recording(layers) as maps:
            self.model.forward_features(x)  # type: ignore[operator]
        return maps

    def _attention_layers(self) -> list[nn.Module]:
        blocks = getattr(self.model, "blocks", ())
        layers = [block.attn for block in blocks if isinstance(getattr(block, "attn", None), nn.Module)]
        if not layers or any(not isinstance(getattr(layer, "attn_drop", None), nn.Module) for layer in layers):
            raise ConfigError(
                f"{self.name} has no attention maps",
                where="encoder.name",
                expected="a plain vision transformer",
                fix="Use a ViT, for instance nano_vit or vit_small_patch16_224.",
            )
        return layers


@contextmanager
def _recording(layers: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Within, each layer's attention weights are appended to the list in the order of the forward pass."""
    maps: list[Tensor] = []
    handles: list[RemovableHandle] = []
    fused = [layer.fused_attn for layer in layers]
    try:
        for layer in layers:
            # The fused kernel never forms the weights; timm's other path hands them to attn_drop.
            layer.fused_attn = False  # type: ignore[assignment]
            drop = cast(nn.Module, layer.attn_drop)
            handles.append(drop.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0].detach())))
        yield maps
    finally:
        for handle in handles:
            handle.remove()
        for layer, was in zip(layers, fused, strict=True):
            layer.fused_attn = was
