"""Pairs of objects: presets of csip."""

from __future__ import annotations

import math
from typing import Any

from nearfar.presets.kinds import Demo, MethodSpec, Preset

_CSIP: dict[str, Any] = {
    "views.recipe": "pairs",
    "views.count": 1,
    "views.erase": 0.0,
}

METHODS: dict[str, MethodSpec] = {
    "csip": MethodSpec("nearfar.methods.csip:CSIP", "pictures of two objects against the force banners of their masks"),
}

PRESETS: dict[str, Preset] = {
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
}

DEMOS: dict[str, Demo] = {
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
}
