"""Images with boxes: time from file to tensor, and what cutting batches to their largest set saves.

    python benchmarks/boxes.py

Image path: a grey picture of 1024 x 768 pixels (a fan of smoothed speckle on black) as BMP, PNG and JPEG, and the
same in colour as BMP, from file to a normalised tensor of 224 x 224. The published algorithm, written from its
description: RGB, LANCZOS letterbox on grey 128, then the image processor of CLIP (a second resize, which is none here,
centre crop, scale, normalise). Ours: `nearfar.data.images.read`, `letterbox_image`, scale, normalise; "draft" leaves
decoding to `letterbox_image`, which lets JPEG decode at a smaller size. "decoding alone" is Pillow's, at full size and
in the file's mode, the floor for everyone who decodes with it. Files are in the page cache.

Box encoder: forward and backward of 16 sets of 1 to 8 boxes, padded to 32 as published and cut to the batch's largest
by `nearfar.spatial.boxes.trim`, for the default encoder (64 wide) and the published one (768 wide). The default's
results must be the same; the published one's need not be, because padding is a neighbour there.

One thread; contestants run in turn, the order reversed every second round; CPU times, ratios are of medians.
Writes benchmarks/results/boxes.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from nearfar.data import images
from nearfar.encoders.boxes import BoxSetEncoder
from nearfar.spatial.boxes import letterbox_image, trim

RESULTS = Path(__file__).parent / "results" / "boxes.json"
TARGETS = {"grey.bmp": 3.0, "grey.png": 3.0, "box encoder": 2.0}
SIZE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # CLIP's
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def picture(width: int = 1024, height: int = 768) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(2, height, width))
    speckle = np.hypot(*gaussian_filter(noise, (0, 1.5, 2.5)))
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height) + 60)
    fan = (np.abs(np.arctan2(x, y)) < 0.6) & (np.hypot(x, y) < height) & (np.hypot(x, y) > 100)
    return np.asarray(np.clip(speckle / speckle.max() * 400, 0, 255) * fan).astype(np.uint8)


def published(path: Path) -> Tensor:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = min(SIZE / image.width, SIZE / image.height)
    width, height = int(image.width * scale), int(image.height * scale)
    canvas = Image.new("RGB", (SIZE, SIZE), (128, 128, 128))
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    canvas.paste(resized, ((SIZE - width) // 2, (SIZE - height) // 2))
    again = canvas.resize((SIZE, SIZE), Image.Resampling.BICUBIC).crop((0, 0, SIZE, SIZE))
    values = np.asarray(again) * np.float32(1 / 255)
    return torch.from_numpy(np.ascontiguousarray(((values - MEAN) / STD).transpose(2, 0, 1)))


def normalised(array: np.ndarray) -> Tensor:
    channels = array.shape[-1]
    mean, std = (torch.from_numpy(x if channels == 3 else x.mean(keepdims=True))[:, None, None] for x in (MEAN, STD))
    return (images.scaled(array, None, "benchmark") - mean) / std


def ours(path: Path) -> Tensor:
    return normalised(letterbox_image(images.read(path), SIZE))


def draft(path: Path) -> Tensor:
    with Image.open(path) as image:
        return normalised(letterbox_image(image, SIZE))


def decoded(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def alternated(calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int = 1) -> dict[str, dict[str, float]]:
    """Median and least CPU seconds of each call, and how many times faster than the first one it is."""
    taken: dict[str, list[float]] = {who: [] for who in calls}
    for call in calls.values():
        call()
    for k in range(rounds):
        for who in (list(calls), list(calls)[::-1])[k % 2]:
            start = time.process_time()
            for _ in range(repeats):
                calls[who]()
            taken[who].append((time.process_time() - start) / repeats)
    medians = {who: statistics.median(times) for who, times in taken.items()}
    first = medians[next(iter(calls))]
    return {
        who: {"seconds": median, "least": min(taken[who]), "faster": first / median} for who, median in medians.items()
    }


def image_path(rounds: int) -> dict[str, Any]:
    grey, table = picture(), {}
    colour = np.repeat(grey[..., None], 3, -1)
    with tempfile.TemporaryDirectory() as folder:
        for name, array in (("grey.bmp", grey), ("grey.png", grey), ("grey.jpg", grey), ("colour.bmp", colour)):
            path = Path(folder) / name
            Image.fromarray(array).save(path)
            calls: dict[str, Callable[[], Tensor]] = {
                "published": lambda path=path: published(path),
                "nearfar": lambda path=path: ours(path),
            }
            if path.suffix == ".jpg":
                calls["nearfar, draft"] = lambda path=path: draft(path)
            means = {who: float((call() * STD.mean() + MEAN.mean()).mean()) for who, call in calls.items()}
            assert max(means.values()) - min(means.values()) < 0.01, means
            table[name] = alternated(calls | {"decoding alone": lambda path=path: decoded(path)}, rounds, 4)
            print(name, show(table[name]), flush=True)
    return table


def show(rows: Mapping[str, Mapping[str, float]]) -> str:
    return "  ".join(f"{who} {row['seconds'] * 1e3:.1f} ms ({row['faster']:.1f} x)" for who, row in rows.items())


def sets(batch: int = 16, most: int = 8, width: int = 32) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    counts = torch.randint(1, most + 1, (batch, 1), generator=random)
    counts[0] = most
    real = torch.arange(width) < counts
    objects = torch.rand(batch, width, 5, generator=random) * 0.5 * real[..., None]
    return objects, torch.where(real, torch.randint(14, (batch, width), generator=random), -1)


def box_encoder(rounds: int) -> dict[str, Any]:
    objects, labels = sets()
    encoders = {
        "default, 64": BoxSetEncoder(14, 64),
        "reference, 768": BoxSetEncoder(14, 768, 8, 2, variant="reference", feedforward=2048),
    }
    table: dict[str, Any] = {}
    for name, encoder in encoders.items():

        def step(cut: bool, encoder: BoxSetEncoder = encoder) -> None:
            encoder.zero_grad()
            encoder(*(trim(objects, labels) if cut else (objects, labels))).square().sum().backward()

        encoder.eval()
        with torch.no_grad():
            difference = (encoder(objects, labels) - encoder(*trim(objects, labels))).abs().max()
        encoder.train()
        calls = {"padded to 32": lambda step=step: step(False), "cut to the largest": lambda step=step: step(True)}
        table[name] = alternated(calls, rounds, 8 if name.startswith("default") else 1)
        table[name]["cut to the largest"]["largest_difference"] = float(difference)
        print(name, show(table[name]), f"largest difference {float(difference):.1e}", flush=True)
    assert table["default, 64"]["cut to the largest"]["largest_difference"] < 1e-4
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures, encoders = image_path(options.rounds), box_encoder(options.rounds)
    least = {
        "grey.bmp": pictures["grey.bmp"]["nearfar"]["faster"],
        "grey.png": pictures["grey.png"]["nearfar"]["faster"],
        "box encoder": min(rows["cut to the largest"]["faster"] for rows in encoders.values()),
    }
    record = {
        "setting": {"picture": [768, 1024], "canvas": SIZE, "batch": 16, "rounds": options.rounds, "threads": 1},
        "image_path": pictures,
        "box_encoder": encoders,
        "targets": {name: {"factor": factor, "least": least[name], "reached": least[name] >= factor}
                    for name, factor in TARGETS.items()},
    }  # fmt: skip
    print(record["targets"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
