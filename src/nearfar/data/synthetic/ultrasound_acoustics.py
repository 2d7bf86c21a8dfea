"""From echo levels to a B-mode picture, in the order of a real scanner.

Levels in dB on a grid of beams and depths -> complex scatterers -> point-spread function -> envelope -> attenuation and
shadows -> log compression -> scan conversion to a fan. Grids are [depth, beam] = [128, 96].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from nearfar.data.synthetic.ultrasound_anatomy import Pose, Shape, place

Grid = NDArray[np.float32]
DEPTHS, BEAMS = 128, 96
_FACE, _REACH = 0.18, 0.97  # radius of the probe's face and length of a beam, in image coordinates
_EDGE = 0.010  # width over which one tissue passes into the next, in image coordinates
_TISSUE, _WALL, _FLUID = -22.0, -14.0, -58.0


@dataclass(frozen=True)
class Scanner:
    """A device: half opening angle in degrees, point spread in grid cells, display range and gain in dB, gamma."""

    name: str
    half_angle: float = 34.0
    lateral: float = 1.5
    axial: float = 0.8
    display_range: float = 55.0
    gain: float = 0.0
    gamma: float = 1.0


@dataclass(frozen=True)
class Condition:
    """How well a frame was taken: blur in grid cells, gain and noise floor in dB, shadows (beam, half width, dB)."""

    blur: float = 0.0
    gain: float = 0.0
    floor: float = -50.0
    shadows: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class _Fan:
    """Grid cells in image coordinates, and for the pixels of a fan their four cells with bilinear weights."""

    x: Grid
    y: Grid
    pixels: NDArray[np.intp]
    cells: NDArray[np.intp]  # [4, pixels]
    weights: Grid  # [4, pixels]


def render(
    shapes: Sequence[Shape],
    pose: Pose,
    *,
    scanner: Scanner,
    size: tuple[int, int],
    condition: Condition,
    mother: np.random.Generator,
    frame: np.random.Generator,
) -> NDArray[np.uint8]:
    """One frame, uint8 [height, width] for `size` = (width, height).

    `mother` draws what the frames of a patient share (tissue around the fetus), `frame` what they do not (speckle).
    """
    fan = _fan(size, scanner.half_angle)
    level, bone, fluid = _tissue(shapes, pose, fan, mother)
    envelope = _envelope(level, scanner, condition.blur, frame)
    loss = _loss(bone, fluid, condition)
    noise = np.abs(_complex_noise(frame)) * np.float32(10 ** (condition.floor / 20))
    echo = envelope * np.exp(np.float32(math.log(10) / 20) * (np.float32(condition.gain + scanner.gain) - loss)) + noise
    grey = (20 * np.log10(echo + 1e-6) + scanner.display_range - 4) / scanner.display_range
    return _display(np.clip(grey, 0, 1) ** scanner.gamma, fan, size)


@lru_cache(maxsize=16)
def _fan(size: tuple[int, int], half_angle: float) -> _Fan:
    width, height = size
    side, angle = min(size), math.radians(half_angle)
    apex = 0.01 - _FACE * math.cos(angle)
    radius = np.linspace(_FACE, _FACE + _REACH, DEPTHS, dtype=np.float32)[:, None]
    beam = np.linspace(-angle, angle, BEAMS, dtype=np.float32)[None]
    x = (np.arange(width) + 0.5 - width / 2) / side
    y = (np.arange(height) + 0.5 - height / 2)[:, None] / side + 0.5 - apex
    depth_index = (np.hypot(x, y) - _FACE) / _REACH * (DEPTHS - 1)
    beam_index = (np.arctan2(x, y) + angle) / (2 * angle) * (BEAMS - 1)
    seen = (depth_index >= 0) & (depth_index <= DEPTHS - 1) & (beam_index >= 0) & (beam_index <= BEAMS - 1)
    cells, weights = _bilinear(depth_index[seen], beam_index[seen])
    return _Fan(0.5 + radius * np.sin(beam), apex + radius * np.cos(beam), np.flatnonzero(seen), cells, weights)


def _bilinear(depth: NDArray[Any], beam: NDArray[Any]) -> tuple[NDArray[np.intp], Grid]:
    row = np.minimum(depth.astype(np.intp), DEPTHS - 2)
    column = np.minimum(beam.astype(np.intp), BEAMS - 2)
    down, right = depth - row, beam - column
    first = row * BEAMS + column
    cells = np.stack([first, first + 1, first + BEAMS, first + BEAMS + 1])
    weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    return cells, weights.astype(np.float32)


def _tissue(
    shapes: Sequence[Shape], pose: Pose, fan: _Fan, rng: np.random.Generator
) -> tuple[Grid, Grid, NDArray[np.bool_]]:
    level = _TISSUE + 3 * _texture(rng, 7, 6)
    level = _womb(level, pose, fan, rng)
    bone = np.zeros_like(level)
    for shape in shapes:
        if shape.drawn:
            cover, gloss = _cover(place(shape, pose), fan)
            level += cover * (shape.level + gloss - level)
            bone += shape.bone * cover
    return level, bone, level < -45


def _womb(level: Grid, pose: Pose, fan: _Fan, rng: np.random.Generator) -> Grid:
    """The cavity with its bright wall, and a placenta on one side of it."""
    wobble = 0.08 * _texture(rng, 14, 12)
    side, width = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 1.3)
    x, y = fan.x - pose.x, fan.y - pose.y
    around = np.sqrt((x / (1.42 * pose.radius)) ** 2 + (y / (1.22 * pose.radius)) ** 2) + wobble
    inside = np.clip((1.0 - around) / 0.06, 0, 1)
    wall = np.clip(1 - np.abs(around - 1.03) / 0.05, 0, 1)
    away = np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - side))))
    placenta = np.clip((around - 0.80 - 0.2 * (away / width) ** 2) / 0.05, 0, 1) * inside
    level = level + wall * (_WALL - level)
    level = level + inside * (_FLUID - level)
    return np.asarray(level + placenta * (_TISSUE + 4 - level), np.float32)


def _cover(shape: Shape, fan: _Fan) -> tuple[Grid, Grid | float]:
    """How much of each cell a placed shape fills, and how much brighter a bone is where it faces the probe."""
    cos, sin = math.cos(shape.turn), math.sin(shape.turn)
    x, y = fan.x - shape.x, fan.y - shape.y
    u, v = cos * x + sin * y, cos * y - sin * x
    gloss: Grid | float = 0.0
    outside: NDArray[Any]
    if shape.kind == "capsule":
        outside = np.hypot(np.maximum(np.abs(u) - shape.a, 0), v) - shape.b
    else:
        radius = np.sqrt((u / shape.a) ** 2 + (v / shape.b) ** 2)
        outside = (radius - 1) * min(shape.a, shape.b)
        if shape.kind == "ring":
            half = shape.wall * min(shape.a, shape.b) / 2
            outside = np.abs(outside + half) - half
            facing = np.abs(y) / (np.hypot(x, y) + 1e-3)  # beams run nearly straight down
            gloss = np.asarray(8 * facing - 6, np.float32)
    return np.clip(0.5 - outside / _EDGE, 0, 1), gloss


def _envelope(level: Grid, scanner: Scanner, blur: float, rng: np.random.Generator) -> Grid:
    amplitude = np.exp(np.float32(math.log(10) / 20) * level)
    kernel = _kernel(scanner.axial, scanner.lateral)
    scatter = fft.ifft2(fft.fft2(_complex_noise(rng) * amplitude) * kernel)
    envelope = np.abs(scatter) / np.float32(math.sqrt(2 * float((kernel**2).mean())))
    # While the picture freezes, the envelopes of a moving fetus add up.
    return np.asarray(np.maximum(fft.ifft2(fft.fft2(envelope) * _kernel(blur, blur)).real, 0), np.float32)


def _loss(bone: Grid, fluid: NDArray[np.bool_], condition: Condition) -> Grid:
    """Attenuation in dB: with depth, behind bone, less behind fluid, and in the shadows of poor contact."""
    depth = np.linspace(0, 1, DEPTHS, dtype=np.float32)[:, None]
    loss = 6 * depth + np.cumsum(0.9 * bone - 0.05 * fluid, 0, dtype=np.float32)
    beam = np.arange(BEAMS, dtype=np.float32) / (BEAMS - 1)
    for centre, width, strength in condition.shadows:
        loss = loss + strength * np.exp(-(((beam - centre) / width) ** 4)) * np.clip((depth - 0.05) * 8, 0, 1)
    return np.asarray(loss, np.float32)


def _display(grey: Grid, fan: _Fan, size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    picture = np.zeros((height, width), np.uint8)
    picture.flat[fan.pixels] = (255 * (grey.ravel()[fan.cells] * fan.weights).sum(0)).astype(np.uint8)
    for tick in range(1, 10):  # the depth ruler that exported pictures carry
        picture[height * tick // 10, -(5 if tick % 5 == 0 else 3) : -1] = 170
    return picture


def _complex_noise(rng: np.random.Generator) -> NDArray[np.complex64]:
    parts = rng.standard_normal((DEPTHS, BEAMS, 2), dtype=np.float32)
    return parts.view(np.complex64)[..., 0]


def _texture(rng: np.random.Generator, axial: float, lateral: float) -> Grid:
    """Smooth noise of mean 0 and standard deviation 1."""
    noise = rng.standard_normal((DEPTHS, BEAMS), dtype=np.float32)
    smooth = fft.ifft2(fft.fft2(noise) * _kernel(axial, lateral)).real
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


@lru_cache(maxsize=64)  # blurs differ from frame to frame, point spreads do not
def _kernel(axial: float, lateral: float) -> Grid:
    """Fourier transform of a Gaussian point-spread function, standard deviations in grid cells."""
    down = np.exp(-2 * (np.pi * axial * np.fft.fftfreq(DEPTHS)) ** 2)
    across = np.exp(-2 * (np.pi * lateral * np.fft.fftfreq(BEAMS)) ** 2)
    return np.outer(down, across).astype(np.float32)
