"""The embedding explorer: one static HTML file with a canvas scatter, thumbnails and neighbours found in the browser.

The vectors travel centred and as int8 (cosines are off by less than 0.01), the thumbnails as one WebP sprite.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nearfar.errors import DataError
from nearfar.report.maps import project

SPRITE_LIMIT = 16383  # the largest side of a WebP image


def write_explorer(
    path: Path, z: np.ndarray, thumbnails: np.ndarray, labels: np.ndarray, classes: Sequence[str], ids: Sequence[str]
) -> Path:
    """Write the explorer of embeddings [n, D] with uint8 thumbnails [n, S, S, 3], labels [n] (-1: none) and ids.

    Raises DataError where the numbers of rows differ.
    """
    from jinja2 import Environment, PackageLoader

    counts = {len(z), len(thumbnails), len(labels), len(ids)}
    if len(counts) != 1:
        raise DataError("embeddings, thumbnails, labels and ids differ in number", found=sorted(counts))
    # The features of a network that ends in a ReLU all point one way: with the mean left in, their cosines differ by
    # less than int8 can hold.
    centred = z - z.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    data = {
        "plane": _base64(project(z).astype("<f4")),
        "vectors": _base64(quantise(unit)),
        "labels": np.asarray(labels).tolist(),
        "classes": list(classes),
        "ids": [str(i) for i in ids],
        "dim": int(z.shape[1]),
        "size": int(thumbnails.shape[1]),
    }
    sprite, data["columns"] = _sprite(thumbnails)
    environment = Environment(loader=PackageLoader("nearfar.report", "templates"), autoescape=True)
    # "</" would end the script element whatever string it stands in.
    payload = json.dumps(data).replace("</", "<\\/")
    path.write_text(environment.get_template("explorer.html").render(payload=payload, sprite=sprite), encoding="utf-8")
    return path


def quantise(unit: np.ndarray) -> np.ndarray:
    """Unit rows [n, D] as int8: 127 is the largest entry of each row, so small vectors keep their precision."""
    scale = 127 / np.maximum(np.abs(unit).max(1, keepdims=True), 1e-12)
    return np.asarray(np.round(unit * scale), np.int8)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _sprite(thumbnails: np.ndarray) -> tuple[str, int]:
    n, size = thumbnails.shape[:2]
    columns = max(1, int(np.ceil(np.sqrt(n))))
    if columns * size > SPRITE_LIMIT:
        raise DataError("too many thumbnails for one sprite", found=n, fix="Explore a subset, or smaller thumbnails.")
    rows = -(-n // columns)
    padded = np.zeros((rows * columns, size, size, 3), np.uint8)
    padded[:n] = thumbnails
    sheet = padded.reshape(rows, columns, size, size, 3).swapaxes(1, 2).reshape(rows * size, columns * size, 3)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "WEBP", quality=70)
    return base64.b64encode(buffer.getvalue()).decode(), columns
