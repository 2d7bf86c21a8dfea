"""Registered colour, temperature and depth of planned scenes, rendered at twice the size and averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.data.synthetic.spills_floor import GLOSS, albedo, waves, wide
from nearfar.data.synthetic.spills_plan import LENS, Plan

_TINT = np.array([(0.76, 0.79, 0.82), (0.36, 0.23, 0.15), (0.95, 0.60, 0.22), (0.80, 0.70, 0.38)], np.float32)
_NETD = 0.07  # kelvin, noise of an uncooled microbolometer
_MOST_HIDDEN = 0.6


@dataclass(frozen=True)
class Frames:
    """Rendered scenes, the first axis is the scene."""

    rgb: Any  # float32 [N, S, S, 3], 0 to 1
    kelvin: Any  # float32 [N, S, S]
    metres: Any  # float32 [N, S, S], 0 = not measured
    mask: Any  # bool [N, S, S], the visible liquid
    hidden: Any  # float32 [N], share of the liquid behind objects


@dataclass(frozen=True)
class _View:
    """Where every ray of the camera meets the floor or the wall; all [N, H, W] or broadcastable to it."""

    u: Any
    v: Any
    sideways: Any  # metres on the floor, right of the camera
    ahead: Any
    depth: Any  # along the optical axis
    steep: Any  # sine of the angle between ray and floor, times the ray's length
    wall: Any  # bool
    wall_height: Any  # metres over the floor


def render(plan: Plan, size: int, rng: np.random.Generator) -> Frames:
    """Scenes of one kind of floor; `rng` gives the sensors' noise."""
    view = _project(plan, 2 * size)
    level = _level(view, plan, plan.balls, plan.ripples)
    soft = wide(plan.softness) * 0.6 + 0.03
    liquid = _smooth(level / soft + 0.5) * (wide(plan.label) > 0) * ~view.wall
    thing, thing_depth, thing_shade, foot_shadow = _things(view, plan)
    total = liquid.sum((1, 2)) + 1e-6
    hidden = (liquid * thing).sum((1, 2)) / total
    keep = wide(hidden < _MOST_HIDDEN)
    thing, foot_shadow = thing & keep, foot_shadow * keep
    seen = liquid * ~thing
    rgb, sun, glare = _colour(view, plan, liquid, level, foot_shadow)
    rgb = np.where(thing[..., None], thing_shade[..., None] * np.array((1.0, 0.95, 0.88), np.float32), rgb)
    rgb = _half(rgb * plan.exposure[:, None, None])
    rgb = np.clip(rgb + rng.normal(0, 0.012, rgb.shape).astype(np.float32), 0, 1)
    depth = np.where(thing, thing_depth, view.depth)
    return Frames(
        rgb,
        _temperature(view, plan, liquid, sun, (thing, thing_shade), rng),
        _measure_depth(depth, plan, seen, glare * ~thing * ~view.wall, rng),
        _half(seen) > 0.5,
        np.where(keep[:, 0, 0], hidden, 0).astype(np.float32),
    )


def _smooth(x: Any) -> Any:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _half(x: Any) -> Any:
    """Mean over blocks of 2 x 2 pixels."""
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) * np.float32(0.25)


def _project(plan: Plan, size: int) -> _View:
    axis = ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)
    u, v = axis[None, None, :], axis[None, :, None]
    sin, cos, height = wide(np.sin(plan.pitch)), wide(np.cos(plan.pitch)), wide(plan.height)
    fall, forward = sin + v * LENS * cos, cos - v * LENS * sin
    depth = height / np.maximum(fall, 0.06)
    wall = (depth * forward > wide(plan.wall)) | (fall < 0.06)
    wall_depth = wide(plan.wall) / np.maximum(forward, 0.05)
    depth = np.where(wall, wall_depth, depth) + 0 * u
    sideways, ahead = u * LENS * depth, depth * forward
    return _View(u, v, sideways, ahead, depth, fall, wall + (u > 2), height - wall_depth * fall)


def _level(view: _View, plan: Plan, balls: Any, ripples: Any) -> Any:
    """Metaballs with a wavy outline: above 0 inside."""
    squash = wide(np.sin(plan.pitch))
    total = np.float32(0)
    for k in range(balls.shape[1]):
        u, v, radius = (wide(balls[:, k, i]) for i in range(3))
        total = total + np.exp(-0.9 * ((view.u - u) ** 2 + ((view.v - v) / squash) ** 2) / radius**2)
    return total - 0.5 + 0.09 * waves(view.sideways, view.ahead, ripples, 5, 28)


def _things(view: _View, plan: Plan) -> tuple[Any, Any, Any, Any]:
    """Chair legs, bins and boxes that stand on the floor: mask, depth, shade, and their shadow on the floor."""
    sin, cos, height = wide(np.sin(plan.pitch)), wide(np.cos(plan.pitch)), wide(plan.height)
    mask = np.zeros(view.depth.shape, bool)
    depth, shade, shadow = view.depth, np.zeros_like(view.depth), np.zeros_like(view.depth)
    far_first = np.argsort(plan.things[:, :, 1], axis=1)
    for k in range(plan.things.shape[1]):
        u, foot, half, tall, tone = (wide(plan.things[np.arange(len(far_first)), far_first[:, k], i]) for i in range(5))
        reach = height / np.maximum(sin + foot * LENS * cos, 0.06)
        ahead = reach * (cos - foot * LENS * sin)
        slope = (height - tall) / ahead
        top = (slope * cos - sin) / (LENS * (cos + slope * sin))
        wide_on_screen = half / (reach * LENS)
        exists = (tone > 0) & (ahead < wide(plan.wall))
        across = (view.u - u) / wide_on_screen
        inside = (np.abs(across) < 1) & (view.v < foot) & (view.v > top) & exists
        mask |= inside
        depth = np.where(inside, ahead / np.maximum(cos - view.v * LENS * sin, 0.05), depth)
        shade = np.where(inside, tone * (1 - 0.45 * (across - 0.35) ** 2) * (0.9 + 0.2 * (view.v - top)), shade)
        fall = np.exp(-(((across - 0.5) / 1.7) ** 2) - ((view.v - foot - 0.02) / (0.04 + 0.4 * wide_on_screen)) ** 2)
        shadow = np.maximum(shadow, 0.45 * fall * exists)
    return mask, depth, np.clip(shade, 0, 1), shadow


def _sun_patch(view: _View, plan: Plan) -> Any:
    """Light of a window with one bar on the floor, 0 to 1."""
    u, v, turn, strength = (wide(plan.sun[:, i]) for i in range(4))
    across = np.cos(turn) * (view.u - u) + np.sin(turn) * (view.v - v)
    along = np.cos(turn) * (view.v - v) - np.sin(turn) * (view.u - u) + 0.4 * across
    pane = _smooth((0.34 - np.abs(across)) / 0.03) * _smooth((0.5 - np.abs(along)) / 0.03)
    return strength * pane * _smooth((np.abs(across) - 0.015) / 0.02) * ~view.wall


def _light(view: _View, plan: Plan, sun: Any, foot_shadow: Any) -> Any:
    x, z, reach = (wide(plan.lamp[:, i]) for i in range(3))
    lamp = np.exp(-((view.sideways - x) ** 2 + (view.ahead - z) ** 2) / (2 * reach**2))
    angle, offset, dark = (wide(plan.shadow[:, i]) for i in range(3))
    edge = _smooth((np.cos(angle) * view.u + np.sin(angle) * view.v - offset) / 0.12)
    return (0.78 + 0.42 * lamp) * (1 - dark * edge) * (1 - foot_shadow) + 0.75 * sun


def _slopes(height: Any) -> tuple[Any, Any]:
    """Of a surface, [N, H, W] each, scaled to about -1 to 1 at a sharp edge."""
    along, across = np.gradient(height, axis=(1, 2))
    return across * np.float32(4), along * np.float32(4)


def _colour(view: _View, plan: Plan, liquid: Any, level: Any, foot_shadow: Any) -> tuple[Any, Any, Any]:
    """Colours before objects [N, H, W, 3], and the sun patch and glare that the other sensors feel too."""
    body = liquid * np.sqrt(np.clip(level + 0.15, 0, 0.6))
    across, along = _slopes(body)
    x, z = view.sideways + 0.03 * across, view.ahead + 0.03 * along
    cos, sin = wide(np.cos(plan.turn)), wide(np.sin(plan.turn))
    ground = albedo(cos * x - sin * z + wide(plan.origin[:, 0]), sin * x + cos * z + wide(plan.origin[:, 1]), plan)
    stain = _smooth((_level(view, plan, _stain_ball(plan), plan.ripples[:, ::-1]) + 0.2) / 0.5) * wide(plan.stain[:, 2])
    ground = ground * (1 - stain)[..., None] * _wetness(plan, liquid)
    sun = _sun_patch(view, plan)
    colour = ground * _light(view, plan, sun, foot_shadow)[..., None]
    gloss, glossy = wide(GLOSS[plan.floor]), wide(np.where(plan.floor == 3, 0.35, 1.0).astype(np.float32))
    u, v, strength = (wide(plan.glare[:, i]) for i in range(3))
    glare = 0.9 * strength * gloss * np.exp(-(((view.u - u) / 0.16) ** 2) - ((view.v - v) / 0.45) ** 2)
    mirror = liquid * glossy * (0.10 + 0.22 * np.clip(1 - view.steep, 0, 1))
    sky = plan.wall_colour[:, None, None]
    colour = colour * (1 - mirror)[..., None] + sky * mirror[..., None]
    rim = np.clip(-0.7 * across - 0.7 * along, -1, 1) * glossy
    shine = glossy * _highlight(view, plan, liquid, across, along)
    colour = colour + (glare * (1 - 0.6 * liquid) + shine + np.where(rim > 0, 0.40, 0.22) * rim)[..., None]
    return np.where(view.wall[..., None], _wall(view, plan), colour), sun, glare + shine


def _stain_ball(plan: Plan) -> Any:
    radius = np.full((len(plan.stain), 1), 0.22, np.float32)
    return np.concatenate([plan.stain[:, :2], radius], 1)[:, None]


def _wetness(plan: Plan, liquid: Any) -> Any:
    """Factor of the floor's colour: the liquid's own colour, and the darkening of what soaks it up."""
    tint = 1 - (1 - _TINT[plan.liquid]) * plan.opacity[:, None]
    soak = np.array([1.0, 0.95, 0.82, 0.72], np.float32)[plan.floor][:, None]
    return 1 - liquid[..., None] * (1 - tint * soak)[:, None, None]


def _highlight(view: _View, plan: Plan, liquid: Any, across: Any, along: Any) -> Any:
    """Mirror image of a lamp in the liquid, bent by its surface."""
    u, v, radius = (wide(plan.balls[:, 0, i]) for i in range(3))
    angle, bend = wide(plan.ripples[:, 0, 0]), waves(view.u, view.v, plan.ripples, 5, 30)
    x = (view.u - u - 0.4 * radius * np.cos(angle) + 0.10 * across) / radius + 0.10 * bend
    y = (view.v - v - 0.4 * radius * np.sin(angle) + 0.10 * along) / radius + 0.08 * bend
    lamp = _smooth((0.42 - np.abs(x)) / 0.15) * _smooth((0.22 - np.abs(y)) / 0.12)
    return liquid * lamp * (0.12 + 0.75 * wide(plan.glare[:, 2]))


def _wall(view: _View, plan: Plan) -> Any:
    board = np.where(view.wall_height < 0.09, 0.62, 1.0) * np.where(np.abs(view.wall_height - 0.09) < 0.008, 0.75, 1.0)
    shade = board * (
        0.70 + 0.18 * np.clip(view.wall_height, 0, 1) - 0.10 * np.exp(-np.clip(view.wall_height, 0, 1) / 0.03)
    )
    return plan.wall_colour[:, None, None] * shade[..., None].astype(np.float32)


def _temperature(
    view: _View, plan: Plan, liquid: Any, sun: Any, things: tuple[Any, Any], rng: np.random.Generator
) -> Any:
    """Kelvin [N, S, S] as an uncooled camera sees it."""
    thing, shade = things
    edge = 4 * liquid * (1 - liquid)
    evaporation = 0.18 + 0.1 * np.sin(wide(plan.ripples[:, 1, 2]))
    ground = wide(plan.delta) * liquid * (1 - 0.25 * edge) - evaporation * (edge + 0.4 * liquid)
    ground = ground + 3.0 * sun + 0.12 * waves(view.sideways, view.ahead, plan.waves, 1, 6)
    squash = wide(np.sin(plan.pitch))
    for k in range(plan.thermal_spots.shape[1]):
        u, v, across, along, kelvin = (wide(plan.thermal_spots[:, k, i]) for i in range(5))
        ground += kelvin * np.exp(-(((view.u - u) / across) ** 2) - ((view.v - v) / (along * squash)) ** 2)
    scene = np.where(view.wall, 0.5 - 0.3 * view.wall_height, ground)
    scene = _half(np.where(thing, 3.0 * (shade - 0.4), scene))
    for axis in (1, 2):  # the lens
        scene = 0.5 * scene + 0.25 * (np.roll(scene, 1, axis) + np.roll(scene, -1, axis))
    u, v = _half(view.u + 0 * view.v), _half(view.v + 0 * view.u)
    ramp = wide(plan.drift[:, 0]) * u + wide(plan.drift[:, 1]) * v + wide(plan.drift[:, 2]) * (u**2 + v**2)
    columns = rng.normal(0, 0.04, (len(scene), 1, scene.shape[2]))
    noise = rng.normal(0, _NETD, scene.shape) + columns
    return (wide(plan.air) + scene + ramp + noise).astype(np.float32)


def _measure_depth(depth: Any, plan: Plan, seen: Any, glare: Any, rng: np.random.Generator) -> Any:
    """Metres [N, S, S] of a time-of-flight camera: noise grows with distance, mirrors give nothing."""
    true, wet, bright = depth[:, ::2, ::2], _half(seen), _half(glare)
    n, size = len(true), true.shape[1]
    blotches = np.repeat(np.repeat(rng.normal(0, 1, (n, size // 2 + 1, size // 2 + 1)), 2, 1), 2, 2)[:, :size, :size]
    patchy = 0.7 * blotches + 0.7 * rng.normal(0, 1, true.shape)
    lost = (wet > 0.5) & (patchy > 1.9 - 2.4 * wide(plan.dropout))
    lost |= (bright > 0.25) & (patchy > 1.2 - 1.5 * bright)
    lost |= rng.random(true.shape) < 0.004
    noise = rng.normal(0, 1, true.shape) * (0.002 + 0.0025 * true**2) * (1 + wet)
    return np.where(lost, 0, np.clip(true + noise, 0.2, 60)).astype(np.float32)
