"""Roughly aligned images with small defects: presets of patches."""

from __future__ import annotations

from nearfar.presets.kinds import MethodSpec, Preset

METHODS: dict[str, MethodSpec] = {
    "patches": MethodSpec(
        "nearfar.methods.patches:Patches", "places of normal images against other places and synthetic defects"
    ),
}

PRESETS: dict[str, Preset] = {
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
