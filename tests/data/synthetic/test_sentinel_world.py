"""The world of the satellite demonstration: all four sets, reproducible, refused where it cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.data.synthetic.sentinel_world import generate
from nearfar.errors import ConfigError

pytest.importorskip("rasterio")


@pytest.mark.slow
def test_the_world_has_four_sets_and_depends_on_the_seed_alone(tmp_path: Path) -> None:
    first, again = generate(tmp_path / "a", n=10), generate(tmp_path / "b", n=10)
    assert sorted(p.name for p in first.iterdir()) == ["eurosat", "oscd", "pastis", "places"]
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert len(files) > 10 * 5 * 12
    assert all((first / f).read_bytes() == (again / f).read_bytes() for f in files)


def test_too_small_a_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too small"):
        generate(tmp_path / "a", n=3)


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        generate(tmp_path, n=10)
