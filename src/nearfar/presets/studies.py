"""Clinical studies, pictures with captions and labelled boxes: presets of spatialclip."""

from __future__ import annotations

from typing import Any

from nearfar.config import Stage
from nearfar.presets.kinds import Demo, MethodSpec, Preset

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

METHODS: dict[str, MethodSpec] = {
    "spatialclip": MethodSpec(
        "nearfar.methods.spatialclip:SpatialCLIP", "image, caption and labelled boxes, aligned and judged together"
    ),
}

PRESETS: dict[str, Preset] = {
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
}

DEMOS: dict[str, Demo] = {
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
}
