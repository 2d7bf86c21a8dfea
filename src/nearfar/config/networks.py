"""The networks: encoders of image and text, and what every method's own section begins with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder: any timm model with any number of channels."""

    name: str = "resnet18"
    """timm model name, or a built-in one: nano_cnn, nano_vit (small), crop_cnn (C-SIP's published network), cnn_ffc
    (SMCL's, convolutions and spectra)"""
    options: dict[str, int | float | str | bool] = field(default_factory=dict)
    """further keyword arguments for timm.create_model, e.g. patch_size 8 embed_dim 96"""
    size: int = 64
    """input height and width in pixels"""
    weights: Path | None = None
    """local safetensors or .pth file with pretrained weights; never downloaded"""
    normalize: Literal["dataset", "image"] = "dataset"
    """dataset: by the mean and deviation of each channel over the training data; image: then also by those of each
    image, for sensors whose level drifts (thermal, depth) where only differences inside the image mean something"""
    fusion: Literal["early", "late"] = "early"
    """early: all channels into one backbone; late: one backbone a modality, features concatenated and projected"""
    modality_dropout: float = 0.0
    """probability that a modality of a training sample is zeroed (never all of them)"""
    groups: str = ""
    """set of band groups that pass one shared backbone, by name (saco, natural, ...); empty: all channels at once"""
    sensor: str = ""
    """whose bands the groups name: a built-in sensor or a YAML file; empty: the one that has all channels"""
    textures: bool = False
    """local binary patterns of the bands as further groups; needs `groups`"""
    texture_points: int = 16
    """neighbours on the circle of the pattern"""
    texture_radius: float = 2.0
    """radius of the circle in pixels"""
    texture_scale: float = 10000.0
    """whole numbers a unit of reflectance on which patterns are computed; 255 for bands stored in 8 bit"""


@dataclass(frozen=True)
class TextConfig:
    """The text encoder and its tokenizer, of methods that read captions."""

    kind: Literal["word", "byte", "clip", "open_clip", "huggingface"] = "word"
    """word: words of the training captions; byte: no vocabulary; clip: CLIP's byte pairs (needs open_clip); these three
    with a small transformer. open_clip, huggingface: a model from `path`, with its own tokenizer"""
    path: Path | None = None
    """local folder of the model (open_clip: open_clip_config.json and weights; huggingface: as saved by
    `save_pretrained`); never downloaded"""
    dim: int = 64
    """width of the small transformer"""
    layers: int = 2
    heads: int = 4
    length: int = 117
    """tokens a caption has at most, special ones included; longer ones are cut"""
    vocabulary: int = 1024
    """word: rows of the table; the rarest words beyond it are unknown"""
    pool: Literal["mean", "last"] = "mean"
    """of the tokens: their mean, or the last one, which in a causal model alone has seen all; CLIP's models pool
    themselves"""
    lora: tuple[str, ...] = ()
    """layers (linear, or whole attentions) that get low-rank adapters (peft), by the ends of their names, e.g.
    q_proj v_proj; the rest of the encoder is frozen"""
    lora_rank: int = 8
    lora_alpha: float = 16.0
    """adapters are multiplied by lora_alpha / lora_rank"""


@dataclass(frozen=True)
class MethodConfig:
    """Base of every method's own section."""

    temperature: float = 0.1
    projection: tuple[int, ...] = (256, 128)
    """widths of the projection head; empty: none, the loss sees the features"""
    head_norm: Literal["batch", "layer", "none"] = "layer"
    """between the layers of the head; batch makes a two-pass step inexact, because images then depend on their batch"""
