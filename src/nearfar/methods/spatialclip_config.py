"""Options of SpatialCLIP, and the checks that need nothing but them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from nearfar.config import MethodConfig, TextConfig, ViewsConfig
from nearfar.data.study import MODALITIES
from nearfar.encoders.gates import FusionKind
from nearfar.errors import ConfigError, did_you_mean
from nearfar.losses.classification import BinaryKind
from nearfar.spatial.boxes import Variant

PAIRS = tuple(combinations(MODALITIES, 2))
PARTS = ("classify", *(f"{a}-{b}" for a, b in PAIRS), "preservation", "structures")
"""the parts of the loss, as a stage's `losses` and the log name them"""


@dataclass(frozen=True)
class SpatialClipConfig(MethodConfig):
    """Options of SpatialCLIP."""

    temperature: float = 0.07
    """of the alignment; the first one, if it is learned"""
    projection: tuple[int, ...] = (64,)
    """widths of the alignment head of each modality; empty needs encoders of one width"""
    modalities: tuple[str, ...] = MODALITIES
    """which of image, text and boxes the classifier sees"""
    dim: int = 64
    """width of the embedding of each modality that the classifier sees"""
    fusion: FusionKind = "concat"
    """of the embeddings: concat; softmax: gates that sum to 1, as published; sigmoid: a gate for each"""
    learn_gain: bool = True
    """unit embeddings are multiplied by a learned number before the classifier; false: by 1, as published"""
    text: TextConfig = field(default_factory=TextConfig)
    """the text encoder and its tokenizer"""
    box_dim: int = 64
    """width of the encoder of boxes"""
    box_heads: int = 4
    box_layers: int = 2
    box_feedforward: int = 0
    """width of the perceptrons inside it; 0: twice `box_dim`"""
    box_relations: bool = True
    """attention between boxes is biased by how they lie to each other"""
    box_drop: float = 0.0
    """share of boxes that are left out in training; a box left out looks like a structure that is missing"""
    box_variant: Variant = "default"
    """reference: the published encoder of boxes"""
    classifier_loss: BinaryKind = "bce"
    """of the label; class_balanced: by the effective number of samples (Cui et al. 2019); focal (Lin et al. 2017)"""
    focal_gamma: float = 2.0
    """exponent of the focal forms"""
    align_image_text: float = 0.06
    """weight of the contrast of image and text; a stage's `losses` overrules it and the next ones"""
    align_image_boxes: float = 0.04
    align_text_boxes: float = 0.04
    positives: Literal["captions", "labels", "own"] = "captions"
    """what is near in the alignment besides a sample's own: samples with an equal caption; all of its label; nothing"""
    learn_temperature: bool = True
    """1 / temperature is a parameter, kept at `largest_scale` or below"""
    largest_scale: float = 100.0
    shared_heads: bool = False
    """the classifier's own embeddings are aligned, as published; false: alignment heads of their own"""
    detach: bool = False
    """the alignment teaches its heads and not the encoders; needs heads of its own"""
    modality_dropout: float = 0.1
    """probability that a modality of a training sample is taken away (never all of them)"""
    preservation: float = 0.0
    """weight of 1 - cosine between the features of an encoder that learns and those it began with, sample by sample"""
    structures: float = 0.0
    """weight of a second task: which classes of boxes are there, told from the image alone"""
    cache: bool = True
    """features of frozen encoders are computed once for each sample, where views do not change them"""

    def alignment(self) -> dict[tuple[str, str], float]:
        """Pair of modalities -> its weight."""
        return dict(zip(PAIRS, (self.align_image_text, self.align_image_boxes, self.align_text_boxes), strict=True))

    def weights(self) -> dict[str, float]:
        """Part of the loss -> its weight, before any stage; pairs of modalities that are not seen have none."""
        pairs = {f"{a}-{b}": weight for (a, b), weight in self.alignment().items() if {a, b} <= set(self.modalities)}
        return {"classify": 1.0, **pairs, "preservation": self.preservation, "structures": self.structures}


def check(config: SpatialClipConfig, views: ViewsConfig) -> None:
    """Raise ConfigError for settings that do not fit each other."""
    if not config.modalities or len(set(config.modalities)) != len(config.modalities):
        _fail("modalities", config.modalities, f"one or more of {', '.join(MODALITIES)}, each once")
    for name in config.modalities:
        if name not in MODALITIES:
            fix = did_you_mean(name, MODALITIES, quote="'")
            raise ConfigError("unknown modality", where="method.modalities", found=name, fix=fix)
    if views.count != 1:
        raise ConfigError("SpatialCLIP sees one view", where="views.count", found=views.count, expected=1)
    if views.recipe != "study":
        what = "image and boxes must be changed together"
        raise ConfigError(what, where="views.recipe", found=views.recipe, expected="study")
    for name in ("align_image_text", "align_image_boxes", "align_text_boxes", "preservation", "structures"):
        if not getattr(config, name) >= 0:
            _fail(name, getattr(config, name), "0 or more")
    if not 0 <= config.modality_dropout < 1:
        _fail("modality_dropout", config.modality_dropout, "0 or more and less than 1")
    if config.positives not in ("captions", "labels", "own"):
        _fail("positives", config.positives, "captions, labels or own")
    if config.largest_scale < 1 / config.temperature:
        _fail("largest_scale", config.largest_scale, f"at least 1 / temperature = {1 / config.temperature:.2f}")
    if config.detach and config.shared_heads:
        what = "without heads of its own a detached alignment teaches nothing"
        raise ConfigError(what, where="method.detach", fix="Set method.shared_heads to false.")


def _fail(name: str, found: object, expected: str) -> None:
    raise ConfigError("value out of range", where=f"method.{name}", found=found, expected=expected)
