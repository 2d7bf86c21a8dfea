"""METHODS and ready-made configurations, as plain Python values: no torch here.

A new method needs one file in `methods/`, one `MethodSpec` and one preset here, and one page in `docs/methods/`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from nearfar.config import Stage


@dataclass(frozen=True)
class MethodSpec:
    """Where a method lives and what it is, without importing it."""

    target: str
    """module:Class, a `nearfar.methods.base.Method`"""
    summary: str
    state: str = "ready"
    """ready, or the reason why it is not"""


@dataclass(frozen=True)
class Preset:
    """A named configuration: a method and dotted overrides of its defaults ("train.lr": 1e-3)."""

    method: str
    summary: str
    overrides: dict[str, Any] = field(default_factory=dict)


METHODS: dict[str, MethodSpec] = {
    "disco": MethodSpec("nearfar.methods.disco:Disco", "evidential contrast: labels weighted by opinions about pairs"),
    "supcon": MethodSpec("nearfar.methods.supcon:SupCon", "supervised contrast, the plain baseline with labels"),
    "simclr": MethodSpec("nearfar.methods.simclr:SimCLR", "two views of one image, the plain baseline without labels"),
    "moco": MethodSpec("nearfar.methods.moco:MoCo", "two views, a queue of keys and a momentum teacher"),
    "saco": MethodSpec("nearfar.methods.saco:SACo", "band groups and textures of one place over time, against others"),
    "seco": MethodSpec("nearfar.methods.seco:SeCo", "heads invariant to season, to colour, to both; change-aware"),
    "csip": MethodSpec("nearfar.methods.csip:CSIP", "pictures of two objects against the force banners of their masks"),
    "spatialclip": MethodSpec(
        "nearfar.methods.spatialclip:SpatialCLIP", "image, caption and labelled boxes, aligned and judged together"
    ),
    "smcl": MethodSpec("nearfar.methods.smcl:SMCL", "views of an object: the mirrored one near, the opposite one far"),
    "patches": MethodSpec(
        "nearfar.methods.patches:Patches", "places of normal images against other places and synthetic defects"
    ),
}

_SEASONS: dict[str, Any] = {
    "views.recipe": "seasonal",
    "views.flip_vertical": 0.5,
    "views.strength": 0.5,
    "views.erase": 0.0,
}
_SACO: dict[str, Any] = {
    **_SEASONS,
    "encoder.groups": "saco",
    "views.count": 3,
    "data.dates": 2,
    "method.positives": "both",
    "method.group_loss": "attract",
}

_CSIP: dict[str, Any] = {
    "views.recipe": "pairs",
    "views.count": 1,
    "views.erase": 0.0,
}

_STUDY: dict[str, Any] = {
    "views.recipe": "study",
    "views.count": 1,
    "views.flip_horizontal": 0.0,
    "views.erase": 0.0,
    "train.batch_size": 64,
    "train.lr": 1e-3,
    "train.clip": 1.0,
}
_JUDGE = ("projections.*", "classifier.*", "box_encoder.*")
"""what learns in SpatialCLIP while the encoders of image and text are frozen"""
_NO_ALIGNMENT = {"image-text": 0.0, "image-boxes": 0.0, "text-boxes": 0.0}

_MIRRORS: dict[str, Any] = {
    "views.recipe": "study",
    "views.count": 3,
    "views.strength": 0.0,
    "views.flip_horizontal": 0.0,
    "views.erase": 0.0,
    "encoder.name": "cnn_ffc",
}

PRESETS: dict[str, Preset] = {
    "disco": Preset("disco", "DiSCO, principled form"),
    "disco_reference": Preset(
        "disco",
        "DiSCO as its published code computes it",
        {"method.mode": "reference", "views.recipe": "thermal_legacy"},
    ),
    "supcon": Preset("supcon", "SupCon, L_out"),
    "simclr": Preset("simclr", "SimCLR"),
    "moco": Preset("moco", "MoCo v2"),
    "moco_v2": Preset(
        "saco",
        "MoCo v2 on satellite images: red, green, blue, two views of one date",
        {**_SEASONS, "encoder.groups": "natural", "views.count": 2, "data.dates": 1},
    ),
    "sa_moco_v2": Preset(
        "saco",
        "MoCo v2 with band groups: the key is of another date",
        {**_SACO, "views.count": 2, "method.positives": "other_date"},
    ),
    "saco": Preset("saco", "SACo: band groups, and keys of the same and of another date", _SACO),
    "saco_plus": Preset("saco", "SACo+: SACo with textures", {**_SACO, "encoder.textures": True}),
    "saco_reference": Preset(
        "saco",
        "SACo+ with the settings of its published code",
        {
            **_SACO,
            "encoder.name": "resnet18",
            "encoder.groups": "saco_reference_seco",
            "encoder.textures": True,
            "encoder.texture_scale": 255.0,
            "method.temperature": 0.05,
            "method.projection": (1024, 512, 256),
            "method.head_norm": "none",
            "method.group_loss": "reference_margin",
            "method.queue": 384,
            "method.momentum": 0.999,
            "method.in_batch": False,
            "method.mask_same_place": False,
            "method.min_valid": 0.0,
            "method.plain_query": True,
            "views.strength": 0.25,
            "train.batch_size": 64,
            "train.epochs": 10,
            "train.lr": 1e-4,
            "train.weight_decay": 1e-5,
        },
    ),
    "seco": Preset(
        "seco",
        "SeCo: three heads over the seasons of a place",
        {**_SEASONS, "encoder.groups": "natural", "views.count": 4, "data.dates": 3},
    ),
    "caco": Preset(
        "seco",
        "CACo: SeCo with the other period as a negative, where a place changed also its own",
        {**_SEASONS, "encoder.groups": "natural", "views.count": 8, "data.dates": 0, "method.negatives": "caco"},
    ),
    "csip": Preset(
        "csip", "C-SIP: image and masks against force banners", {**_CSIP, "data.modalities": ("rgb", "masks")}
    ),
    "csip_reference": Preset(
        "csip",
        "C-SIP with the settings of its published code",
        {
            **_CSIP,
            "views.strength": 0.0,
            "views.flip_horizontal": 0.0,
            "data.size": 224,
            "encoder.name": "crop_cnn",
            "encoder.size": 224,
            "method.temperature": math.exp(-0.07),
            "method.learn_temperature": False,
            "method.cosine": False,
            "method.label_smoothing": 0.2,
            "method.false_negatives": "none",
            "method.same_image": "contrast",
            "method.rows": 101,
            "method.banner_encoder": "published",
            "method.projection": (256,),
            "method.head_norm": "none",
            "train.batch_size": 256,
            "train.epochs": 10,
            "train.lr": 3e-5,
            "train.lr_floor": 1.0,
            "train.warmup": 0.0,
            "train.weight_decay": 0.0,
        },
    ),
    "spatialclip": Preset(
        "spatialclip",
        "SpatialCLIP in three stages: boxes and classifier, alignment, all encoders",
        {
            **_STUDY,
            "views.strength": 0.0,
            "views.shift": 0.08,
            "train.stages": (
                Stage("classifier", 4, train=_JUDGE, losses=_NO_ALIGNMENT),
                Stage("alignment", 6, train=(*_JUDGE, "head*")),
                Stage("encoders", 30, train=("*",)),
            ),
        },
    ),
    "spatialclip_frozen": Preset(
        "spatialclip",
        "SpatialCLIP in one stage on frozen encoders of image and text, whose features are computed once",
        {
            **_STUDY,
            "views.strength": 0.0,
            "train.stages": (Stage("classifier", 40, train=(*_JUDGE, "head*")),),
        },
    ),
    "shared_encoder": Preset(
        "spatialclip",
        "one image encoder with two tasks: the label, and which structures are there; no caption, no boxes to see",
        {
            **_STUDY,
            "views.strength": 0.0,
            "method.modalities": ("image",),
            "method.modality_dropout": 0.0,
            "method.structures": 1.0,
            "train.epochs": 40,
        },
    ),
    "spatialclip_reference": Preset(
        "spatialclip",
        "SpatialCLIP with the settings of its published code, which trains the gate and the classifier only",
        {
            **_STUDY,
            "views.strength": 0.0,
            "data.size": 224,
            "encoder.name": "vit_large_patch14_clip_224",
            "encoder.size": 224,
            "method.dim": 768,
            "method.fusion": "softmax",
            "method.learn_gain": False,
            "method.box_dim": 768,
            "method.box_heads": 8,
            "method.box_feedforward": 2048,
            "method.box_variant": "reference",
            "method.box_drop": 0.1,
            "method.shared_heads": True,
            "method.positives": "own",
            "method.largest_scale": 50.0,
            "method.modality_dropout": 0.0,
            "train.stages": (
                Stage("fusion", 5, train=("classifier.*",), losses=_NO_ALIGNMENT, warmup=0.2),
                Stage("alignment", 10, train=("classifier.*",), warmup=0.2),
                Stage("top layers", 15, train=("classifier.*",), warmup=0.2),
            ),
            "train.batch_size": 16,
            "train.lr": 1e-4,
            "train.lr_floor": 0.0,
            "train.weight_decay": 0.02,
        },
    ),
    "smcl": Preset(
        "smcl",
        "SMCL's encoder: mirrored views near, opposite and all other views far",
        {
            **_MIRRORS,
            "views.flip_horizontal": 0.5,
            "train.batch_size": 48,
            "train.lr": 2e-3,
            "train.weight_decay": 1e-4,
        },
    ),
    "smcl_reference": Preset(
        "smcl",
        "SMCL's encoder with the settings of its published code, whose loss is inverted: for comparison",
        {
            **_MIRRORS,
            "data.size": 64,
            "encoder.size": 64,
            "encoder.options": {"activation": "identity", "squeeze": False, "pool": 4},
            "method.loss": "published",
            "method.temperature": 0.05,
            "method.recolour": 0.0,
            "method.mask_symmetric": False,
            "train.batch_size": 100,
            "train.epochs": 200,
            "train.lr": 5e-4,
            "train.lr_floor": 1.0,
            "train.warmup": 0.0,
            "train.weight_decay": 1e-4,
        },
    ),
    "patches": Preset(
        "patches",
        "one-class anomaly detection on roughly aligned images",
        {
            "views.recipe": "none",
            "data.size": 128,
            "encoder.name": "nano_cnn",
            "encoder.size": 128,
            "train.batch_size": 16,
            "train.epochs": 70,
            "train.weight_decay": 0.02,
        },
    ),
}


@dataclass(frozen=True)
class Demo:
    """An embedded demonstration: a generated world, and what is trained side by side on it."""

    title: str
    lead: str
    world: str
    """module with `generate(root, *, n, seed) -> Path`"""
    samples: int
    presets: tuple[str, ...]
    overrides: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=lambda: {"data.root": "."})
    """settings that are folders of the world, such as eval.change: oscd"""
    unit: str = "scenes"
    """what `samples` counts"""
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    """overrides of one preset alone"""
    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """tasks of `nearfar.scenes` that are trained beside the presets: "scene" or "objects", each with its overrides;
    data.root is a folder of the world"""


DEMOS: dict[str, Demo] = {
    "disco": Demo(
        title="Finding spills with doubtful labels",
        lead="Floors with and without liquid spills in colour, thermal and depth images; part of the training labels "
        "is wrong. DiSCO and SupCon learnt from the same images, labels and views; the true labels and masks were kept "
        "aside and are used here only to score.",
        world="nearfar.data.synthetic.spills",
        samples=1200,
        presets=("disco", "supcon"),
        overrides={
            "data.size": 64,
            "encoder.name": "nano_cnn",
            "encoder.size": 64,
            "encoder.normalize": "image",
            "method.head_norm": "batch",
            "train.epochs": 40,
            "train.batch_size": 128,
            "train.lr": 2e-3,
            "train.sampler": "balanced",
        },
    ),
    "saco": Demo(
        title="Land from space, with few labels",
        lead="Generated Sentinel-2 time series of places on the ground, without labels. SACo+ learnt from groups of "
        "bands and textures of different dates, MoCo v2 from red, green and blue, about as long. Both encoders were "
        "then frozen and measured on other places: classes of patches, maps of crops, and what was built between two "
        "dates. This is one small generated world with wide intervals; benchmarks/saco.py compares over several.",
        world="nearfar.data.synthetic.sentinel_world",
        samples=160,
        unit="places",
        presets=("saco_plus", "moco_v2"),
        paths={
            "data.root": "places",
            "eval.landcover": "eurosat",
            "eval.segment": "pastis",
            "eval.change": "oscd",
        },
        overrides={
            "data.size": 44,
            "data.splits": (0.9, 0.05, 0.05),
            "views.strength": 0.2,
            "encoder.name": "nano_cnn",
            "encoder.options": {"width": 16, "depth": 1},
            "encoder.size": 32,
            "method.head_norm": "batch",
            "method.momentum": 0.95,
            "method.queue": 1,
            "method.group_weight": 0.2,
            "train.epochs": 150,
            "train.batch_size": 64,
            "train.lr": 2e-3,
            "train.health_every": 10,
            "train.checkpoint_every": 50,
            "eval.protocol": "spatial",
            "eval.tasks": ("health", "attention", "landcover", "segment", "change"),
        },
        own={"moco_v2": {"train.epochs": 450}},
    ),
    "csip": Demo(
        title="Pictures that know where things are",
        lead="Generated pictures of textured things in nine spatial relations. C-SIP contrasted the picture of a pair "
        "with the force banner of its masks, SimCLR with another view of itself, on the same pictures; neither saw the "
        "name of a relation. Names and questions are used here only to score.",
        world="nearfar.data.synthetic.relations",
        samples=1500,
        presets=("csip", "simclr"),
        overrides={
            "data.size": 64,
            "data.modalities": ("rgb", "masks"),
            "views.recipe": "pairs",
            "views.erase": 0.0,
            "encoder.name": "nano_cnn",
            "encoder.options": {"width": 24, "depth": 1},
            "encoder.size": 64,
            "method.head_norm": "batch",
            "train.epochs": 14,
            "train.batch_size": 128,
            "train.lr": 2e-3,
            "eval.tasks": ("relations", "banners", "vqa"),
        },
        own={"csip": {"method.banner_width": 16}},
    ),
    "spatialclip": Demo(
        title="Is this a standard picture?",
        lead="A generated study of fetal ultrasound in four views: a frame is standard if picture, layout and caption "
        "all are, and each of the three tells a third of it. SpatialCLIP learnt in three stages from pictures, "
        "captions and boxes, the shared encoder from the pictures alone. Both are measured on other patients of the "
        "same centre, on later ones, and on five other centres.",
        world="nearfar.data.synthetic.ultrasound",
        samples=400,
        unit="patients",
        presets=("spatialclip", "shared_encoder"),
        overrides={
            "data.size": 64,
            "encoder.name": "nano_cnn",
            "encoder.options": {"width": 16, "depth": 1},
            "encoder.size": 64,
            "method.modality_dropout": 0.0,
            "train.lr": 3e-3,
            "train.epochs": 64,
            "train.health_every": 0,
            "eval.tasks": ("clinical",),
        },
        own={
            "shared_encoder": {"train.epochs": 30},
        },
    ),
    "smcl": Demo(
        title="The same from the other side",
        lead="Generated objects before the cameras of NMR, and one generated scene. SMCL's encoder learnt that "
        "mirrored views of an object belong together and opposite ones do not; a conditional field learnt to render "
        "eight of the objects from one view each; a field of points, begun on the visual hull and given first features "
        "by graph contrast, learnt the scene. Each is measured on objects or views that it never saw, beside what "
        "needs no learning. Rendering objects that were never seen takes far more than a minute, and the numbers say "
        "so.",
        world="nearfar.data.synthetic.objects",
        samples=60,
        unit="objects",
        presets=("smcl",),
        paths={"data.root": "mir180"},
        overrides={
            "data.size": 32,
            "encoder.size": 32,
            "train.epochs": 34,
            "train.health_every": 10,
            "eval.tasks": ("mirrors", "health"),
        },
        scenes={
            "scene": {
                "data.root": "scene",
                "train.graph_seconds": 10.0,
                "train.max_seconds": 90.0,
                "train.clock": "cpu",
                "train.steps": 1_000_000,
                "eval.frame_size": 96,
            },
            "objects": {
                "data.root": "objects",
                "data.limit": 8,
                "objects.near": 1.9,
                "objects.far": 3.5,
                "train.max_seconds": 60.0,
                "train.clock": "cpu",
                "train.steps": 1_000_000,
                "train.evaluation_views": 6,
                "eval.objects": 8,
                "eval.views": 3,
            },
        },
    ),
}
