"""Every depth comes through; every corrupt file is named."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nearfar.data import images
from nearfar.errors import DataError

RNG = np.random.default_rng(0)


def png16(path: Path, pixels: NDArray[np.uint16]) -> Path:
    """A 16-bit PNG of 1 to 4 channels, which Pillow itself cannot write."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def tiff16_rgb(path: Path, pixels: NDArray[np.uint16], order: str) -> Path:
    """An uncompressed 16-bit RGB TIFF in either byte order, which Pillow cannot write either."""
    height, width, _ = pixels.shape
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    bits_at = 8 + 2 + 9 * 12 + 4
    data_at = bits_at + 6
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, data_at),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, pixels.size * 2),
    ]
    entries = b""
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        entries += struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    body = struct.pack(f"{order}HHH", 16, 16, 16) + pixels.astype(f"{order}u2").tobytes()
    path.write_bytes(mark + struct.pack(f"{order}I", 8) + directory + body)
    return path


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits_keeps_every_bit(tmp_path: Path, channels: int) -> None:
    pixels = RNG.integers(0, 65536, (7, 5, channels), dtype=np.uint16)
    read = images.read(png16(tmp_path / "a.png", pixels))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bit_colour_keeps_every_bit(tmp_path: Path, order: str) -> None:
    pixels = RNG.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    np.testing.assert_array_equal(images.read(tiff16_rgb(tmp_path / "a.tif", pixels, order)), pixels)


def test_layout_that_would_lose_depth_is_refused(tmp_path: Path) -> None:
    path = png16(tmp_path / "gray_alpha.png", RNG.integers(0, 65536, (4, 4, 2), dtype=np.uint16))
    with pytest.raises(DataError, match=r"8 bits.*LA;16B"):
        images.read(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.npy"])
def test_gray_of_16_bits(tmp_path: Path, name: str) -> None:
    pixels = RNG.integers(0, 65536, (7, 5), dtype=np.uint16)
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(images.read(path)[..., 0], pixels)


def test_float_tiff(tmp_path: Path) -> None:
    pixels = RNG.normal(size=(7, 5)).astype(np.float32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    read = images.read(tmp_path / "a.tif")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read[..., 0], pixels)


def test_pages_of_a_tiff_become_channels(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (13, 6, 5), dtype=np.uint16)
    pages = [Image.fromarray(p) for p in pixels]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif"), pixels.transpose(1, 2, 0))


def test_pages_of_different_size_are_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("L", (4, 4))])
    with pytest.raises(DataError, match=r"pages.*4 x 4, 8 x 8"):
        images.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4), ("CMYK", 3), ("P", 3), ("I;16", 1)],
)
def test_modes(tmp_path: Path, mode: str, channels: int) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (5, 7)).save(path)
    assert images.read(path).shape == (7, 5, channels)


def test_palette_with_transparency_keeps_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (3, 3))
    image.putpalette([200, 100, 50, 0, 0, 0])
    image.save(tmp_path / "a.png", transparency=1)
    np.testing.assert_array_equal(images.read(tmp_path / "a.png")[0, 0], (200, 100, 50, 255))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 8), (6, 8, 1)), ((6, 8, 2), (6, 8, 2)), ((2, 6, 8), (6, 8, 2)), ((13, 64, 64), (64, 64, 13))],
)
def test_axes_of_numpy_images(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    assert images.read(tmp_path / "a.npy").shape == expected


def test_camera_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert images.read(tmp_path / "a.jpg").shape == (8, 4, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_nonfinite_values_are_counted(tmp_path: Path, bad: float, suffix: str) -> None:
    pixels = np.zeros((4, 5), np.float32)
    pixels[1, :3] = bad
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    with pytest.raises(DataError, match=rf"a\{suffix}.*NaN or infinite.*3 of 20"):
        images.read(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".npy"])
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.6])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"broken{suffix}"
    pixels = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    if suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=rf"broken\{suffix}.*cannot be decoded"):
        images.read(path)


def test_text_with_the_name_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>not found</html>")
    with pytest.raises(DataError, match="cannot be decoded"):
        images.read(tmp_path / "a.png")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        images.read(tmp_path / "a.png")
    with pytest.raises(DataError, match="does not exist"):
        images.fingerprint(tmp_path / "a.png")


def test_unreadable_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)  # tests may run as root, whom chmod does not stop
    with pytest.raises(DataError, match=r"a\.png.*may not be read"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize("content", [np.zeros(5), np.zeros((2, 2), complex), np.zeros((0, 4)), np.array([["a"]])])
def test_arrays_that_are_no_images(tmp_path: Path, content: NDArray[np.generic]) -> None:
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(DataError, match=r"a\.npy"):
        images.read(tmp_path / "a.npy")


def test_an_archive_is_no_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 3)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="archive"):
        images.read(tmp_path / "a.npy")


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535), ("float32", 1.0), ("float64", 1.0)])
def test_natural_scales(dtype: str, top: float) -> None:
    image = images.scaled(np.full((2, 3, 1), top, dtype), None, "a")
    assert image.shape == (1, 2, 3)
    assert image.dtype == torch.float32
    assert (image == 1).all()


def test_scale_by_hand_and_types_without_one() -> None:
    pixels = np.full((2, 2, 1), 30000, np.int32)
    assert images.scaled(pixels, 60000.0, "a").unique().tolist() == [0.5]
    with pytest.raises(DataError, match=r"int32.*--data\.scale"):
        images.scaled(pixels, None, "a")


def test_resize_is_antialiased_and_keeps_depth() -> None:
    checkers = torch.from_numpy((np.indices((64, 64)).sum(0) % 2).astype(np.float32))[None]
    assert (images.resize(checkers, 8) - 0.5).abs().max() < 0.05
    step = torch.tensor([[[0.0, 1 / 65535], [0.0, 1 / 65535]]])
    assert images.resize(step, 4).max() == pytest.approx(1 / 65535, rel=1e-5)


def test_masks_keep_small_objects() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10, 11] = True
    assert images.resize_mask(mask, 16).nonzero().tolist() == [[2, 2]]
    assert not images.resize_mask(np.zeros((9, 9), bool), 4).any()
    mask[:, :32] = True
    assert images.resize_mask(mask, 16).sum() == 16 * 8


@pytest.mark.parametrize("top", [1, 255])
def test_masks_of_either_convention(tmp_path: Path, top: int) -> None:
    pixels = np.zeros((4, 4), np.uint8)
    pixels[1] = top
    Image.fromarray(pixels).save(tmp_path / "m.png")
    np.testing.assert_array_equal(images.read_mask(tmp_path / "m.png"), pixels > 0)
    Image.fromarray(np.dstack([pixels, np.full_like(pixels, 255)]), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(images.read_mask(tmp_path / "la.png"), pixels > 0)
