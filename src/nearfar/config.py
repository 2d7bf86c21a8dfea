"""The configuration of a run: one frozen dataclass a section. Plain data: this module never imports torch.

`RunConfig.method` is the dataclass that the method's own file declares (`Method.Config`); everything else is common to
all methods. Reading YAML and flags into it is `nearfar.configio`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar


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
class Stage:
    """A part of a run that trains some of the method's parameters, with an optimiser of its own."""

    name: str
    """in metrics.jsonl, progress and report"""
    epochs: int
    train: tuple[str, ...] = ("*",)
    """parameters that learn, by patterns (`encoder.*`, `*.bias`) over their names in the method; the rest is frozen"""
    rates: dict[str, float] = field(default_factory=dict)
    """pattern: learning rate as a multiple of `train.lr`; the last pattern that matches a parameter counts"""
    losses: dict[str, float] = field(default_factory=dict)
    """part of the method's loss: its weight in this stage"""
    warmup: float = 0.1
    """share of the stage that warms up; the schedule of the run follows, from the beginning in every stage"""


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
class TrainConfig:
    """The optimisation."""

    epochs: int = 100
    """with stages: their sum, and need not be given; given after them (a flag over a preset) it stretches them in
    proportion"""
    stages: tuple[Stage, ...] = ()
    """parts of the run one after the other, in a preset or a YAML file; empty: everything learns all the time"""
    batch_size: int = 256
    """over all devices"""
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    schedule: Literal["cosine", "published"] = "cosine"
    """cosine: linear warm-up, then a cosine, step by step; published: DiSCO's quadratic warm-up, epoch by epoch"""
    warmup: float = 0.1
    """share of the run that warms up; a cosine to `lr_floor` follows"""
    lr_floor: float = 0.01
    """final learning rate as a share of `lr`"""
    head_lr: float = 1.0
    """learning rate of the projection head as a multiple of `lr`"""
    freeze_encoder: float = 0.0
    """share of the run during which the encoder is frozen and only the head learns"""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    accumulate: int = 1
    """micro-batches whose gradients are averaged into one step"""
    grad_cache: int = 0
    """rows a chunk of the two-pass step that makes the batch independent of memory; 0: off"""
    clip: float = 0.0
    """largest gradient norm; 0: off"""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    sync_batchnorm: bool = False
    workers: int = 0
    """loader processes"""
    threads: int = 0
    """CPU threads of torch; 0: leave them"""
    seed: int = 0
    checkpoint_every: int = 0
    """steps between checkpoints; 0: after every epoch"""
    keep: int = 2
    """checkpoints kept"""
    max_nonfinite: int = 10
    """steps in a row with a non-finite loss or gradient before the run stops"""
    health_every: int = 1
    """epochs between measurements of embedding health (alignment, uniformity, effective rank)"""
    log: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    """loggers beside metrics.jsonl"""


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


@dataclass(frozen=True)
class MethodConfig:
    """Base of every method's own section."""

    temperature: float = 0.1
    projection: tuple[int, ...] = (256, 128)
    """widths of the projection head; empty: none, the loss sees the features"""
    head_norm: Literal["batch", "layer", "none"] = "layer"
    """between the layers of the head; batch makes a two-pass step inexact, because images then depend on their batch"""


M = TypeVar("M", bound=MethodConfig)


@dataclass(frozen=True)
class RunConfig(Generic[M]):
    """Everything that defines a run; written as config.yaml into the run folder."""

    preset: str
    method: M
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
