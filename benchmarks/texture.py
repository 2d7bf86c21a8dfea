"""Local binary patterns: time against scikit-image, and what 8 bits and JPEG do to the codes.

    python benchmarks/texture.py

Time: 64 images of 12 bands of 64 x 64 pixels, uint8, 16 points at radius 2, one thread. scikit-image takes one plane a
call; its codes are copied into one array of the same compact type, as ours are. All contestants run in turn, the order
reversed every second round; times are CPU times, ratios are of medians, and every result must equal scikit-image's.
numba is compiled before; what compiling and loading cost is measured in fresh processes. numba comes from the extra
`geo`, scikit-image from `bench`; without numba its column is left out.

Codes: 10 m bands of eight scenes of the synthetic Sentinel-2 world (264 x 264 pixels), reflectance as uint16 (x 10000),
as uint8 (x 255, as SeCo's files), and as JPEG of the uint8 at quality 75 (GDAL's default). Shares of pixels with
another `uniform` code, and half the sum of absolute differences between histograms, which is 1 where nothing is shared.
Writes benchmarks/results/texture.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.feature import local_binary_pattern as scikit_image

from nearfar.data.synthetic.sentinel import Scene, digital_numbers
from nearfar.spatial.texture import METHODS, code_dtype, lbp_histogram, local_binary_pattern

RESULTS = Path(__file__).parent / "results" / "texture.json"
TARGETS = {"numpy": 2.5, "numba": 10.0}
BANDS = ("B02", "B03", "B04", "B08")
Codes = np.ndarray
FIRST_CALL = (
    "import time, numpy as np; t = time.perf_counter();"
    "from nearfar.spatial.texture import local_binary_pattern;"
    "local_binary_pattern(np.zeros((8, 8)), backend='numba'); print(time.perf_counter() - t)"
)


def batch(count: int = 64, size: int = 64) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(count, 12, size, size))
    smooth = gaussian_filter(noise, (0, 0, 2, 2))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def by_scikit_image(images: np.ndarray, method: str) -> Codes:
    out = np.empty(images.shape, code_dtype(16, method))
    for index in np.ndindex(images.shape[:-2]):
        out[index] = scikit_image(images[index], 16, 2, method)
    return out


def contestants(images: np.ndarray, method: Any) -> dict[str, Callable[[], Codes]]:
    tensor = torch.from_numpy(images)
    found: dict[str, Callable[[], Codes]] = {
        "scikit-image": lambda: by_scikit_image(images, method),
        "numpy": lambda: local_binary_pattern(images, method=method, backend="numpy"),
        "torch": lambda: local_binary_pattern(tensor, method=method, backend="torch").numpy(),
    }
    if find_spec("numba"):
        found["numba"] = lambda: local_binary_pattern(images, method=method, backend="numba")
    return found


def speed(rounds: int) -> dict[str, Any]:
    images, table = batch(), {}
    for method in METHODS:
        calls = contestants(images, method)
        expected = calls["scikit-image"]()
        taken: dict[str, list[float]] = {who: [] for who in calls}
        for who, call in calls.items():  # the warm-up
            np.testing.assert_array_equal(call(), expected, err_msg=who)
        for k in range(rounds):
            for who in (list(calls), list(calls)[::-1])[k % 2]:
                start = time.process_time()
                calls[who]()
                taken[who].append(time.process_time() - start)
        medians = {who: statistics.median(times) for who, times in taken.items()}
        table[method] = {
            who: {"seconds": median, "least": min(taken[who]), "faster": medians["scikit-image"] / median}
            for who, median in medians.items()
        }
        row = "  ".join(f"{who} {v['seconds'] * 1e3:7.1f} ms {v['faster']:5.1f} x" for who, v in table[method].items())
        print(f"{method:12s} {row}", flush=True)
    return table


def first_calls() -> dict[str, float]:
    """Seconds of import and first call, without and with compiled code on disk."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        seconds = [
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST_CALL], env=environment, check=True, capture_output=True
                ).stdout
            )
            for _ in range(2)
        ]
    return dict(zip(("compiling", "from_disk"), seconds, strict=True))


def as_jpeg(band: np.ndarray, quality: int = 75) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(band).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def storage(scenes: int) -> list[dict[str, float]]:
    """What is left of texture after rounding to 8 bits, and after JPEG of that."""
    reflectance = np.concatenate([Scene(seed).render(190).stack(BANDS) for seed in range(scenes)])
    full = digital_numbers(reflectance)
    eight = np.clip(np.round(reflectance * 255), 0, 255).astype(np.uint8)
    files = {"uint16": full, "uint8": eight, "JPEG": np.stack([as_jpeg(band) for band in eight])}
    records = []
    for blur in (0.0, 1.0, 2.0):
        codes = {name: local_binary_pattern(values, blur=blur) for name, values in files.items()}
        shares = {name: lbp_histogram(values) for name, values in codes.items()}
        record: dict[str, float] = {"blur": blur}
        for name, before in (("uint8", "uint16"), ("JPEG", "uint8"), ("JPEG", "uint16")):
            key = f"{name} against {before}"
            record[key] = float((codes[name] != codes[before]).mean())
            record[f"{key}, histograms"] = float(np.abs(shares[name] - shares[before]).sum(-1).mean() / 2)
        records.append(record)
        print("  ".join(f"{key}: {value:.3f}" for key, value in record.items()), flush=True)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    times = speed(options.rounds)
    record = {
        "setting": {"shape": [64, 12, 64, 64], "points": 16, "radius": 2, "rounds": options.rounds, "threads": 1},
        "speed": times,
        "targets": {who: {"factor": factor, "reached": all(row[who]["faster"] >= factor for row in times.values())}
                    for who, factor in TARGETS.items() if who in times["uniform"]},
        "storage": storage(options.scenes),
    }  # fmt: skip
    if find_spec("numba"):
        record["first_call"] = first_calls()
        print(record["first_call"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
