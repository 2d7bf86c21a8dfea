"""A whole Sentinel-2 tile by windows: the memory it takes, and whether the result is that of the whole.

    python benchmarks/windowed.py

A scene of 10,980 x 10,980 pixels and 12 bands, uint16, with a wedge without data, is generated tile by tile into a
temporary folder and deleted afterwards. In processes of their own, with one thread:

- identity: all bands through `windowed_geotiff` into a second file, which must hold the same pixels.
- network: a map of 8 classes and its probabilities by `predict_scene`, as `nearfar predict` makes them, with a network
  of two convolutions. Its map must be that of the network on whole strips of the scene.

Memory is the largest resident set of the process (Linux), Python and torch included.
Writes benchmarks/results/windowed.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import Tensor, nn

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import GeoScene
from nearfar.data.rasterfile import profile, writing
from nearfar.evaluate.scene import predict_scene
from nearfar.evaluate.windowed import windowed_geotiff

RESULTS = Path(__file__).parent / "results" / "windowed.json"
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
LIMIT = 2.0
"""GB"""
STEP = 256
REACH = 2  # pixels that two 3x3 convolutions look around


def generate(path: Path, size: int) -> None:
    """Smooth ground, a noise of a few digital numbers, and a corner without data."""
    grid = Grid((size, size), (10.0, 0.0, 499_980.0, 0.0, -10.0, 5_500_020.0), rasterio.CRS.from_epsg(32631).to_wkt())
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, (len(BANDS), 1, 1))
    with writing(path, profile(grid, len(BANDS), "uint16", 0, "deflate") | {"zlevel": 1}) as file:
        for row in range(0, size, STEP):
            y = np.arange(row, min(row + STEP, size))[:, None]
            x = np.arange(size)[None]
            ground = 2500 + 1500 * np.sin(x / 97 + phase) * np.cos(y / 131 - phase)
            pixels = (ground + rng.integers(0, 32, ground.shape)).astype(np.uint16)
            pixels[:, x + y < size // 4] = 0
            file.write(pixels, window=Window(0, row, size, len(y)))
        for i, name in enumerate(BANDS):
            file.set_band_description(i + 1, name)


class Network:
    """Eight classes from twelve bands by two convolutions, untrained."""

    task, times, bands, sensor, size_multiple = "segment", 1, BANDS, "sentinel2_l2a", 1
    classes = tuple(f"class {i}" for i in range(8))
    colours: tuple[tuple[int, int, int], ...] = ()
    statistics = None

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1)
        self.layers = nn.Sequential(*layers).eval()

    def __call__(self, pixels: np.ndarray, _: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            scores: Tensor = self.layers(torch.from_numpy(pixels[0] * 4 - 1)[None])[0]
        return scores.softmax(0).numpy()


def child(what: str, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    start = time.perf_counter()
    if what == "identity":
        windowed_geotiff(
            folder / "scene.tif", folder / "same.tif", lambda x, _: x, names=BANDS, dtype="uint16", nodata=0
        )
    else:
        predict_scene(Network(), [folder / "scene.tif"], folder / "map.tif", probabilities=folder / "p.tif")
    return {"seconds": round(time.perf_counter() - start, 1), "peak_gb": round(peak_bytes() / 1e9, 3)}


def peak_bytes() -> int:
    """The largest resident set of this process. getrusage would count that of the parent before exec as well."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def same_pixels(folder: Path, size: int) -> bool:
    with rasterio.open(folder / "scene.tif") as a, rasterio.open(folder / "same.tif") as b:
        windows = (Window(0, row, size, min(STEP, size - row)) for row in range(0, size, STEP))
        return (a.crs, a.transform) == (b.crs, b.transform) and all(
            np.array_equal(a.read(window=w), b.read(window=w)) for w in windows
        )


def same_map(folder: Path, size: int) -> dict[str, float]:
    """The map of windows against that of strips as wide as the scene: share of equal pixels, largest difference."""
    network, equal, seen, worst = Network(), 0, 0, 0.0
    with (
        GeoScene(folder / "scene.tif", nodata=0) as scene,
        rasterio.open(folder / "map.tif") as made,
        rasterio.open(folder / "p.tif") as chances,
    ):
        for row in range(0, size - 3 * STEP, max(size // 12, STEP)):
            pixels, valid = scene.read(slice(row, row + 3 * STEP), slice(0, size))
            reflectance = np.where(valid, pixels.astype(np.float32) / np.float32(10000), 0)
            whole = network(reflectance[None], valid[None])[:, STEP:-STEP]
            window, known = Window(0, row + STEP, size, STEP), valid[STEP:-STEP]
            here = made.read(1, window=window)
            equal += int((here == np.where(known, whole.argmax(0), 255)).sum())
            seen += here.size
            worst = max(worst, float(np.abs(chances.read(window=window) / 10000 - whole)[:, known].max()))
    return {"equal_share": equal / seen, "largest_difference_of_probability": worst}


def measure(size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="windowed-") as name:
        folder = Path(name)
        start = time.perf_counter()
        generate(folder / "scene.tif", size)
        record: dict[str, Any] = {
            "setting": {"size": size, "bands": len(BANDS), "window": 512, "overlap": 64, "threads": 1},
            "raw_gb": round(size * size * len(BANDS) * 2 / 1e9, 2),
            "generated_in_seconds": round(time.perf_counter() - start, 1),
        }
        for what in ("identity", "network"):
            command = [sys.executable, __file__, "--child", what, "--folder", name]
            record[what] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        record["identity"]["equal"] = same_pixels(folder, size)
        record["network"] |= same_map(folder, size)
    peak = max(record[what]["peak_gb"] for what in ("identity", "network"))
    whole = record["network"]["largest_difference_of_probability"] < 1e-4
    return {**record, "limit_gb": LIMIT, "reached": peak < LIMIT and record["identity"]["equal"] and whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10_980)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", choices=("identity", "network"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        print(json.dumps(child(options.child, options.folder)))
        return
    record = measure(options.size)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
