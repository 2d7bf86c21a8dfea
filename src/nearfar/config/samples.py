"""What is read, and how one sample becomes several views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    """Where the samples come from and how they are read."""

    root: Path | None = None
    """folder (or manifest file) with the data"""
    format: str = "auto"
    """reader by name (`nearfar data formats` lists them), or auto: recognise the layout"""
    size: int = 64
    """every image is brought to size x size pixels before the views; the original bit depth is kept until then"""
    modalities: tuple[str, ...] = ()
    """sibling folders to stack as channels, e.g. rgb thermal depth; empty: what the reader finds"""
    scale: float | None = None
    """value that becomes 1.0; default: 255 for 8 bit, 65535 for 16 bit, 1 for float images"""
    group: str | None = None
    """regular expression on the id whose first group names the group (never split apart), or a manifest column"""
    splits: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """train, validation and test shares where the data brings no split of its own"""
    split_seed: int = 0
    sensor: str = ""
    """satellite sensor by name, or a YAML file that describes one; empty: what the reader says"""
    bands: tuple[str, ...] = ()
    """bands of satellite images, by name and in this order; empty: all"""
    dates: int = 0
    """different dates drawn for a sample of a time series; 0: all"""
    protocol: str = "official"
    """which of the published splits or labels: official; spatial (EuroSAT, by longitude); binary (SpatialSense: whether
    the asked relation holds)"""
    mask_size: int = 64
    """pairs of objects: height and width of the grey masks that force banners are computed from"""
    pairs_per_image: int = 8
    """pairs drawn from each image of data that has objects and no relations (COCO)"""
    min_area: float = 0.005
    """smallest object of such a pair, as a share of its image"""
    max_iou: float = 0.7
    """largest intersection over union of the boxes of such a pair"""
    train: Path | None = None
    """studies (image, caption, boxes): the JSON file of the training samples; `root` may then be left out"""
    val: Path | None = None
    """the JSON file of the validation samples"""
    test: Path | None = None
    """the JSON file of the test samples"""
    image_root: Path | None = None
    """folder that the image paths of those files are relative to; default: each file's own folder"""
    max_objects: int = 32
    """detections of an image that are kept, the most confident ones"""
    labels: Path | None = None
    """YAML or JSON file with the object classes, a list or name: number; default: the 14 published ones"""
    on_unknown: Literal["error", "map"] = "error"
    """a detection of another class: error, or map it to UNKNOWN"""


@dataclass(frozen=True)
class ViewsConfig:
    """How one sample becomes several views."""

    count: int = 2
    recipe: Literal["standard", "thermal", "thermal_legacy", "weak", "none", "seasonal", "pairs", "study"] = "standard"
    """standard: crop, flip, per-modality photometric; thermal: the corrected thermal pipeline on thermal channels;
    seasonal: dates of a place, in ground units, one photometric change for all bands; pairs: mirrors that image, masks
    and boxes of two objects share, photometric changes of the image alone; study: a clinical picture and its boxes,
    mild photometric changes and the mirrors asked for, nothing else"""
    crop_scale: tuple[float, float] = (0.35, 1.0)
    """area of the random crop as a share of the image"""
    flip_horizontal: float = 0.5
    flip_vertical: float = 0.0
    rotate: float = 10.0
    """largest rotation, degrees"""
    strength: float = 0.5
    """of the photometric changes, 0 (none) to 1"""
    shift: float = 0.0
    """study: largest move of picture and boxes together, as a share of the canvas"""
    erase: float = 0.2
    """probability of an occluding box"""
    crop_metres: float = 0.0
    """seasonal: side of the ground that a view shows; 0: as many pixels of the data as the view has"""
    zoom: tuple[float, float] = (1.0, 1.0)
    """seasonal: factor on that side, drawn for each view"""
    turns: bool = True
    """seasonal: random quarter turns"""
