"""Images and their labels, and the plain baselines: presets of disco, supcon, simclr and moco."""

from __future__ import annotations

from nearfar.presets.kinds import Demo, MethodSpec, Preset

METHODS: dict[str, MethodSpec] = {
    "disco": MethodSpec("nearfar.methods.disco:Disco", "evidential contrast: labels weighted by opinions about pairs"),
    "supcon": MethodSpec("nearfar.methods.supcon:SupCon", "supervised contrast, the plain baseline with labels"),
    "simclr": MethodSpec("nearfar.methods.simclr:SimCLR", "two views of one image, the plain baseline without labels"),
    "moco": MethodSpec("nearfar.methods.moco:MoCo", "two views, a queue of keys and a momentum teacher"),
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
}

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
}
