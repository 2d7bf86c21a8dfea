"""The ultrasound world's pictures: defects grow with their severity, boxes fit what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nearfar.data.synthetic.ultrasound_acoustics import Scanner, render
from nearfar.data.synthetic.ultrasound_anatomy import VIEWS, anatomy, draw_pose, extent, place
from nearfar.data.synthetic.ultrasound_defects import IMAGE_DEFECTS, LAYOUT_DEFECTS, Defect, apply, condition
from nearfar.data.synthetic.ultrasound_layout import detect


@pytest.mark.parametrize("kind", IMAGE_DEFECTS)
def test_image_defects_grow_with_severity(kind: str) -> None:
    """Distance from the same frame without the defect, in grey levels."""
    view, rng = "abdomen", np.random.default_rng
    shapes, pose = anatomy(view, rng(0)), draw_pose(view, False, rng(1))

    def frame(defect: Defect | None) -> np.ndarray:
        taken = condition(defect, rng(2))
        kwargs = {"scanner": Scanner("S"), "size": (160, 128), "mother": rng(3), "frame": rng(4)}
        return render(shapes, pose, condition=taken, **kwargs).astype(float)

    sound = frame(None)
    change = [np.abs(frame(Defect(kind, severity)) - sound).mean() for severity in (0, 0.25, 0.5, 0.75, 1)]
    assert all(np.diff(change) > 0) and change[-1] > 1.5 * change[0] > 1.5


@pytest.mark.parametrize("view", VIEWS)
def test_layout_defects_grow_with_severity(view: str) -> None:
    shapes = anatomy(view, np.random.default_rng(0))
    pose = draw_pose(view, False, np.random.default_rng(1))

    def edges(fetus: tuple[Any, Any]) -> dict[str, np.ndarray]:
        placed = [place(shape, fetus[1]) for shape in fetus[0] if shape.label]
        return {s.label: np.array([s.x, s.y, *extent(s)]) for s in placed if s.label}

    sound = edges((shapes, pose))
    for kind in LAYOUT_DEFECTS[view]:
        changed = [edges(apply(Defect(kind, s), shapes, pose, np.random.default_rng(2))) for s in (0.0, 0.5, 1.0)]
        if kind.startswith("missing_"):
            assert all(sound.keys() - found.keys() == {kind.removeprefix("missing_")} for found in changed)
        else:
            moved = [max(np.abs(found[name] - sound[name]).max() for name in sound) for found in changed]
            assert moved[0] > 0.02 and all(np.diff(moved) > 0.01)


def test_boxes_fit_the_drawn_structures() -> None:
    """The stomach is the dark hole of the abdomen: darker inside its box than in a frame round it."""
    rng = np.random.default_rng
    for seed in range(5):
        shapes, pose = anatomy("abdomen", rng(seed)), draw_pose("abdomen", seed % 2 == 1, rng(seed))
        taken = condition(None, rng(0))
        args = {"scanner": Scanner("S"), "size": (160, 128), "condition": taken}
        picture = render(shapes, pose, **args, mother=rng(1), frame=rng(2)).astype(float)
        box = next(f["bbox"] for f in detect(shapes, pose, (160, 128), rng(3)) if f["label"] == "S")
        x0, y0, x1, y1 = (round(edge) for edge in box)
        inner = picture[y0 + 2 : y1 - 1, x0 + 3 : x1 - 2].mean()
        assert inner < 0.6 * picture[y0 - 5 : y1 + 5, x0 - 5 : x1 + 5].mean()


# ---- options and wrong use
