"""Your own data without files: any arrays become a dataset, and the trainer takes it: python examples/custom_data.py"""

import tempfile
from pathlib import Path

import numpy as np

from nearfar import TensorDataset, build_method
from nearfar.configio import load
from nearfar.data import Channels, channel_statistics
from nearfar.train import fit_method

rng = np.random.default_rng(0)
labels = np.arange(200) % 4
images = rng.normal(size=(200, 4, 32, 32)).astype("float32") * 0.1 + labels[:, None, None, None] * 0.2

channels = Channels.of({"rgb": ["r", "g", "b"], "thermal": [""]})
dataset = TensorDataset(images, labels, channels=channels, classes=("dry", "damp", "wet", "flooded"))

config = load(
    "supcon",
    overrides={"encoder.name": "nano_cnn", "encoder.size": 32, "train.epochs": 2, "train.batch_size": 50},
)
method = build_method(config, channels, *channel_statistics(dataset))
run = fit_method(method, dataset, config, Path(tempfile.mkdtemp()) / "run")
print("run", run.path)
