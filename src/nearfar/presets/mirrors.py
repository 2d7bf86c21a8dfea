"""Views of objects: presets of smcl."""

from __future__ import annotations

from typing import Any

from nearfar.presets.kinds import Demo, MethodSpec, Preset

_MIRRORS: dict[str, Any] = {
    "views.recipe": "study",
    "views.count": 3,
    "views.strength": 0.0,
    "views.flip_horizontal": 0.0,
    "views.erase": 0.0,
    "encoder.name": "cnn_ffc",
}

METHODS: dict[str, MethodSpec] = {
    "smcl": MethodSpec("nearfar.methods.smcl:SMCL", "views of an object: the mirrored one near, the opposite one far"),
}

PRESETS: dict[str, Preset] = {
    "smcl": Preset(
        "smcl",
        "SMCL's encoder: mirrored views near, opposite and all other views far",
        {
            **_MIRRORS,
            "views.flip_horizontal": 0.5,
            "train.batch_size": 24,
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
}

DEMOS: dict[str, Demo] = {
    "smcl": Demo(
        title="The same from the other side",
        lead="Generated objects before the cameras of NMR, and one generated scene. SMCL's encoder learnt that "
        "mirrored views of an object belong together and opposite ones do not; a conditional field learnt to render "
        "eight of the objects from one view each; a field of points, begun on the visual hull and given first features "
        "by graph contrast, learnt the scene. Each is measured on objects or views that it never saw, beside what "
        "needs no learning. Eight objects do not teach what other objects look like, and the numbers say so.",
        world="nearfar.data.synthetic.objects",
        samples=60,
        unit="objects",
        presets=("smcl",),
        paths={"data.root": "mir180"},
        overrides={
            "data.size": 32,
            "encoder.size": 32,
            "train.epochs": 40,
            "train.health_every": 10,
            "eval.tasks": ("mirrors", "health"),
        },
        scenes={
            "scene": {
                "data.root": "scene",
                "train.graph_seconds": 10.0,
                "train.max_seconds": 150.0,
                "train.clock": "cpu",
                "train.steps": 1_000_000,
                "eval.frame_size": 96,
            },
            "objects": {
                "data.root": "objects",
                "data.limit": 8,
                "objects.near": 1.9,
                "objects.far": 3.5,
                "train.max_seconds": 140.0,
                "train.clock": "cpu",
                "train.steps": 1_000_000,
                "train.evaluation_views": 6,
                "eval.objects": 8,
                "eval.views": 3,
            },
        },
    ),
}
