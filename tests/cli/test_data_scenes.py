"""`nearfar data check` on scenes: recognised, listed, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.cli import main
from nearfar.scenes.formats import write_scene
from nearfar.scenes.scene import Frame, Scene
from nearfar.spatial.cameras import orbit


@pytest.fixture
def ring(tmp_path: Path) -> Scene:
    """Six opaque views from all around."""
    frames = []
    for i, camera in enumerate(orbit(6, 3.0, width=16, height=16)):
        path = tmp_path / "source" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(path)
        frames.append(Frame(path, camera, "test" if i == 0 else "train"))
    return Scene("ring", tuple(frames))


@pytest.mark.parametrize("format", ["transforms", "colmap", "nsvf", "srn", "dvr"])
def test_check(ring: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    root, figure = write_scene(ring, tmp_path / "scene", format), tmp_path / "cameras.png"
    assert main(["data", "check", str(root), "--figure", str(figure)]) == 0
    said = capsys.readouterr()
    assert "no problems found" in said.out
    assert "1 scene(s), 6 views" in said.err
    assert Image.open(figure).size[0] > 800
    broken = next(path for path in sorted(root.rglob("*.png")) if path.parent.name in ("images", "rgb", "image"))
    broken.write_bytes(broken.read_bytes()[:50])
    assert main(["data", "check", str(root), "--json", "--format", format]) == 3
    assert broken.name in json.dumps(json.loads(capsys.readouterr().out))


def test_folders_of_objects(ring: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        write_scene(ring, tmp_path / "nmr" / name, "dvr")
    (tmp_path / "nmr/softras_train.lst").write_text("a\nb\n")
    assert main(["data", "check", str(tmp_path / "nmr")]) == 0
    assert "2 scene(s), 12 views" in capsys.readouterr().err


def test_only_scenes_are_drawn(ring: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(ring.frames[0].path.parent), "--figure", str(tmp_path / "x.png")]) == 2
    assert "only scenes have cameras" in capsys.readouterr().err


def test_formats_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "formats"]) == 0
    listed = capsys.readouterr().out
    for name in ("transforms", "nsvf", "srn", "dvr", "colmap"):
        assert f"scene {name}" in listed
