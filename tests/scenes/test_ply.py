"""PLY: binary and text, foreign headers, broken files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError, ShapeError
from nearfar.scenes.ply import read_ply, read_points, write_ply


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.booleans(), st.booleans(), st.integers(0, 999))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, n: int, text: bool, coloured: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3)).astype(np.float32)
    colours = rng.integers(0, 256, (n, 3)) / 255 if coloured else None
    path = write_ply(
        tmp_path_factory.mktemp("ply") / "a.ply", points, colours, text=text,
        extra={"influence": rng.normal(size=n), "index": np.arange(n, dtype=np.int32)},
    )  # fmt: skip
    found, its = read_points(path)
    assert np.array_equal(found, points)
    assert (its is None) == (not coloured)
    if colours is not None:
        assert np.allclose(its, colours)
    columns = read_ply(path)
    assert columns["influence"].dtype == np.float64
    assert np.array_equal(columns["index"], np.arange(n))


def test_size_and_header(tmp_path: Path) -> None:
    path = write_ply(tmp_path / "a.ply", np.zeros((1000, 3)), np.zeros((1000, 3)))
    head = path.read_bytes().split(b"end_header\n")[0]
    assert b"format binary_little_endian 1.0" in head
    assert b"property float x" in head
    assert b"property uchar red" in head
    assert path.stat().st_size == len(head) + 11 + 15 * 1000


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    head = "ply\r\nformat binary_big_endian 1.0\r\ncomment x\r\nobj_info y\r\nelement camera 1\r\nproperty short id\r\n"
    head += "element vertex 2\r\nproperty double x\r\nproperty double y\r\nproperty double z\r\n"
    head += "element face 1\r\nproperty list uchar int vertex_indices\r\nend_header\r\n"
    body = np.array([7], ">i2").tobytes() + np.arange(6, dtype=">f8").tobytes() + b"\x03"
    path.write_bytes(head.encode() + body)
    assert read_points(path)[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
        "property ushort red\nproperty ushort green\nproperty ushort blue\nend_header\n"
        "1 2 3 65535 0 0\n4 5 6 0 0 65535\n"
    )
    points, colours = read_points(path)
    assert points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert colours.tolist() == [[1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("text", [False, True])
def test_truncated_files(tmp_path: Path, text: bool) -> None:
    whole = write_ply(tmp_path / "a.ply", np.ones((10, 3)), text=text).read_bytes()
    broken = tmp_path / "b.ply"
    broken.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"b\.ply: the PLY file ends before its last vertex|a vertex has 3 numbers"):
        read_points(broken)
    broken.write_bytes(whole[:40])
    with pytest.raises(DataError, match="header of the PLY file"):
        read_points(broken)


HEAD = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("solid", "no PLY file"),
        (HEAD + "1 2\n", "a vertex has 3 numbers"),
        (HEAD + "1 2 three\n", "no number"),
        (HEAD + "1 2 nan\n", "NaN"),
        (HEAD.replace("property float z\n", ""), "have no place"),
        (HEAD.replace("float z", "quad z"), "header.*wrong.*quad"),
        (HEAD.replace("ascii", "xml"), "header.*wrong.*xml"),
        (HEAD.replace("vertex", "face"), "no vertices"),
        (HEAD.replace("float z", "list uchar int z"), "lists stand"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.ply"
    path.write_text(content + ("1 2\n" if "place" in message else ""))
    with pytest.raises(DataError, match=message):
        read_points(path)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="point file does not exist"):
        read_points(tmp_path / "none.ply")
    with pytest.raises(ShapeError):
        write_ply(tmp_path / "a.ply", np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="one colour a point"):
        write_ply(tmp_path / "a.ply", np.zeros((3, 3)), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="influence"):
        write_ply(tmp_path / "a.ply", np.zeros((3, 3)), extra={"influence": np.zeros(2)})
    with pytest.raises(DataError, match="NaN"):
        write_ply(tmp_path / "a.ply", np.full((1, 3), np.nan))
    assert not (tmp_path / "a.ply").exists()
