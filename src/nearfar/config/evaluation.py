"""What is measured after training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class EvalConfig:
    """What `nearfar eval` measures and how."""

    tasks: tuple[str, ...] = ()
    """classify, retrieve, anomaly, health, noise, opinions, attention, relations, banners, vqa, mirrors, clinical,
    landcover, segment, change; empty: all that the data allows"""
    pairs: Path | None = None
    """labelled pairs of objects, such as SpatialSense, for relations, banners and vqa; default: the run's own data"""
    text: Literal["bag", "gru", "open_clip", "huggingface"] = "bag"
    """what reads the questions of vqa: a bag of words and word pairs, or, more slowly, a recurrent network, both learnt
    on them; or a frozen pretrained model from `text_path`"""
    text_path: Path | None = None
    """local folder of that model; never downloaded"""
    landcover: Path | None = None
    """labelled patches, such as EuroSAT, that task landcover classifies"""
    segment: Path | None = None
    """labelled scenes, such as PASTIS or GID, that task segment maps"""
    change: Path | None = None
    """pairs of scenes with a mask of what changed, such as OSCD, for task change"""
    landcover_mode: Literal["linear", "histogram", "finetune"] = "linear"
    """linear: a probe on frozen features; histogram: features and texture histograms of each band group; finetune: the
    encoder learns too"""
    protocol: str = "official"
    """which split of those data is used; EuroSAT: official | spatial"""
    statistics: Literal["target", "run"] = "target"
    """pixels of those data are normalised by their own training split, or as in the run's pre-training"""
    decoder: Literal["unet", "smp"] = "unet"
    """what maps classes from the encoder's features; smp: that of segmentation-models-pytorch"""
    group_maps: Literal["each", "mean"] = "each"
    """what decoders see of an encoder of band groups: the maps of every group side by side, or their mean"""
    decoder_epochs: int = 60
    """passes over the training tiles, also of landcover's finetune and histogram modes"""
    finetune: bool = False
    """whether the encoder learns with the decoder, or the relations of task relations; otherwise it is frozen"""
    tile: int = 0
    """side of a training tile in pixels; 0: 128 for segment, 96 for change"""
    cohorts: tuple[Path, ...] = ()
    """labelled studies (JSON files) that task clinical measures beside the test images; default: prospective.json and
    external*.json in the folder of the run's own"""
    calibration: Literal["temperature", "platt", "isotonic", "none"] = "temperature"
    """what turns logits into probabilities, fitted on the validation images"""
    operating: Literal["youden", "sensitivity", "specificity", "cost"] = "youden"
    """how the threshold is chosen on the validation images"""
    operating_target: float = 0.9
    """the sensitivity or specificity to reach there; of cost: that of calling a non-standard image standard, where
    calling a standard one non-standard costs 1"""
    abstain: float = 0.0
    """largest share of the validation images that are left to a person, those nearest the threshold"""
    subgroup_minimum: int = 20
    """images of a subgroup from which on it is measured"""
    k: int = 20
    """neighbours of the kNN classifier"""
    bootstrap: int = 1000
    """resamples for the intervals"""
    confidence: float = 0.95
    seed: int = 0
