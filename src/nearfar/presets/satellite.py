"""Time series of places: presets of saco and seco."""

from __future__ import annotations

from typing import Any

from nearfar.presets.kinds import Demo, MethodSpec, Preset

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

METHODS: dict[str, MethodSpec] = {
    "saco": MethodSpec("nearfar.methods.saco:SACo", "band groups and textures of one place over time, against others"),
    "seco": MethodSpec("nearfar.methods.seco:SeCo", "heads invariant to season, to colour, to both; change-aware"),
}

PRESETS: dict[str, Preset] = {
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
}

DEMOS: dict[str, Demo] = {
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
}
