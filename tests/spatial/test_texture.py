"""Local binary patterns against golden numbers, scikit-image, a loop written from the definition, and each other."""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nearfar.errors import ConfigError, DataError, NearfarError, ShapeError
from nearfar.spatial import texture
from nearfar.spatial.texture import METHODS, code_count, gaussian_blur, local_binary_pattern

BACKENDS = ["numpy", "torch", *(["numba"] if find_spec("numba") else [])]
DTYPES = ["uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool"]


def random_image(dtype: str, shape: tuple[int, ...] = (2, 23, 17), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "f":
        return random.normal(size=shape).astype(dtype)
    if kind == "b":
        return random.random(shape) > 0.5
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return random.integers(max(low, -5000), min(high, 10_000), shape, dtype=dtype, endpoint=True)


def equal(a: object, b: object) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(b).dtype.kind == "f")


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_golden_case(golden_dir: Path, backend: str) -> None:
    golden = np.load(golden_dir / "saco" / "lbp.npz")
    cases = [key for key in golden.files if key.startswith("lbp/")]
    assert len(cases) >= 100
    for key in cases:
        _, name, setting = key.split("/")
        points, radius, method = setting.split("_", 2)
        image = golden[f"img/{name}"]
        result = local_binary_pattern(image, int(points[1:]), float(radius[1:]), method, backend)
        assert equal(result, golden[key]), key


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_scikit_image_for_every_dtype(dtype: str, backend: str) -> None:
    feature = pytest.importorskip("skimage.feature")
    image = random_image(dtype)
    for points, radius in ((8, 1.0), (16, 2.0), (5, 0.7)):
        for method in METHODS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-image advises against floats
                expected = [feature.local_binary_pattern(plane, points, radius, method) for plane in image]
            assert equal(local_binary_pattern(image, points, radius, method, backend), expected), (points, method)


@settings(max_examples=60, deadline=None)
@given(
    image=hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(-3, 3)),
    points=st.integers(1, 31),
    radius=st.floats(1e-7, 6),
    method=st.sampled_from(METHODS),
)
def test_equals_scikit_image_for_any_points_and_radius(
    image: np.ndarray, points: int, radius: float, method: texture.Method
) -> None:
    feature = pytest.importorskip("skimage.feature")
    expected = feature.local_binary_pattern(image, points, radius, method)
    for backend in BACKENDS:
        assert equal(local_binary_pattern(image, points, radius, method, backend), expected), backend  # type: ignore[arg-type]


def by_definition(image: np.ndarray, points: int, radius: float) -> np.ndarray:
    """The pattern of every pixel as Python integers, one point after another."""
    height, width = image.shape
    angles = 2 * np.pi * np.arange(points) / points
    offsets = zip(np.round(-radius * np.sin(angles), 5), np.round(radius * np.cos(angles), 5), strict=True)
    padded = np.pad(image.astype(np.float64), 9)
    codes = np.zeros((height, width), dtype=object)
    for i, (row, column) in enumerate(offsets):
        for r in range(height):
            for c in range(width):
                y, x = r + row, c + column
                top, left = int(np.floor(y)), int(np.floor(x))
                dy, dx = y - top, x - left
                corner = padded[top + 9 : top + 11, left + 9 : left + 11]
                across = [(1 - dx) * line[0] + dx * line[1] for line in corner]
                codes[r, c] |= int((1 - dy) * across[0] + dy * across[1] >= image[r, c]) << i
    return codes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("points", [40, 62])
def test_more_points_than_scikit_image_can_number(points: int, backend: str) -> None:
    image = random_image("uint8", (5, 6))
    patterns = by_definition(image, points, 2.3)
    ones = np.array([[bin(p).count("1") for p in row] for row in patterns])
    changes = np.array([[bin((p ^ (p >> 1)) & ((1 << (points - 1)) - 1)).count("1") for p in row] for row in patterns])
    least = [[min(((p >> k) | (p << (points - k))) & ((1 << points) - 1) for k in range(points)) for p in row]
             for row in patterns]  # fmt: skip
    assert equal(local_binary_pattern(image, points, 2.3, "default", backend), patterns.astype(np.int64))
    assert equal(local_binary_pattern(image, points, 2.3, "ror", backend), np.array(least, dtype=np.int64))
    uniform = local_binary_pattern(image, points, 2.3, "uniform", backend)
    assert equal(uniform, np.where(changes <= 2, ones, points + 1))


@settings(max_examples=30, deadline=None)
@given(
    image=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=8), elements=st.floats(-1e6, 1e6)),
    points=st.integers(1, 24),
    radius=st.floats(0.05, 5),
    method=st.sampled_from(METHODS),
    blur=st.sampled_from([0.0, 0.8]),
)
def test_backends_agree(image: np.ndarray, points: int, radius: float, method: texture.Method, blur: float) -> None:
    first, *others = [local_binary_pattern(image, points, radius, method, b, blur=blur) for b in BACKENDS]  # type: ignore[call-overload]
    assert first.shape == image.shape
    for other in others:
        assert other.dtype == first.dtype
        assert equal(other, first)


def test_blocks_of_rows_and_of_planes_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.spatial.texture_blocks import numpy_backend

    image = random_image("uint16", (7, 83, 5))
    whole = {method: local_binary_pattern(image, 24, 3.0, method, "numpy") for method in METHODS}
    for size in (1, 200, 83 * 5 * 3):
        monkeypatch.setattr(texture, "numpy_backend", lambda size=size: numpy_backend()._replace(block_size=size))
        for method in METHODS:
            assert equal(local_binary_pattern(image, 24, 3.0, method, "numpy"), whole[method]), (size, method)


@pytest.mark.parametrize("backend", BACKENDS)
def test_flat_images_are_all_ties_inside(backend: str) -> None:
    flat = np.full((40, 40), 37, dtype=np.uint8)
    codes = local_binary_pattern(flat, backend=backend)
    assert (codes[3:-3, 3:-3] == 16).all()
    assert np.isnan(local_binary_pattern(flat, 8, 1.0, "var", backend)[1:-1, 1:-1]).any()
    assert (local_binary_pattern(np.zeros((5, 5)), backend=backend) == 16).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 5), (2, 1, 3, 4), (0, 3, 8, 8)])
def test_any_leading_shape_and_tiny_images(shape: tuple[int, ...]) -> None:
    image = random_image("int16", shape)
    for backend in BACKENDS:
        codes = local_binary_pattern(image, 24, 3.0, "uniform", backend)
        assert codes.shape == shape
        for index in np.ndindex(shape[:-2]):
            assert equal(codes[index], local_binary_pattern(image[index], 24, 3.0, "uniform", "numpy"))


def test_views_that_are_not_contiguous() -> None:
    image = random_image("uint16", (11, 13, 4))
    bands_first = np.moveaxis(image, -1, 0)
    assert equal(local_binary_pattern(bands_first), local_binary_pattern(np.ascontiguousarray(bands_first)))
    flipped = local_binary_pattern(image[::-1, :, 0], 4, 1.0, "uniform")
    assert equal(flipped, local_binary_pattern(image[::-1, :, 0].copy(), 4, 1.0, "uniform"))
    assert equal(local_binary_pattern(bands_first.astype(">u2")), local_binary_pattern(bands_first))


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int64, torch.bfloat16, torch.float32])
def test_tensors_give_tensors(dtype: torch.dtype, backend: texture.BackendName) -> None:
    image = torch.randint(0, 200, (2, 3, 9, 8)).to(dtype)
    codes = local_binary_pattern(image, backend=backend)
    assert codes.dtype == torch.uint8
    assert codes.shape == image.shape
    assert equal(codes, local_binary_pattern(image.double().numpy()))


def test_tensors_with_gradients_are_taken_without() -> None:
    image = torch.rand(6, 6, requires_grad=True)
    for backend in BACKENDS:
        result = local_binary_pattern(image, 8, 1.0, "var", backend, blur=0.5)  # type: ignore[call-overload]
        assert result.dtype == torch.float64
        assert not result.requires_grad


@pytest.mark.parametrize(
    ("points", "method", "dtype"),
    [(8, "default", "uint8"), (16, "default", "int32"), (40, "ror", "int64"), (16, "uniform", "uint8"),
     (16, "nri_uniform", "uint8"), (24, "nri_uniform", "int16"), (8, "var", "float64")],
)  # fmt: skip
def test_results_are_compact(points: int, method: texture.Method, dtype: str) -> None:
    result = local_binary_pattern(random_image("uint8"), points, 2.0, method)
    assert result.dtype == dtype
    if method != "var":
        assert result.max() < code_count(points, method)
        as_asked = local_binary_pattern(random_image("uint8"), points, 2.0, method, dtype=np.float64)
        assert as_asked.dtype == np.float64
        assert equal(as_asked, result.astype(float))


def test_dtype_of_tensors_and_types_that_are_too_small() -> None:
    image = random_image("uint8")
    assert local_binary_pattern(torch.from_numpy(image), dtype=torch.int32).dtype == torch.int32
    assert local_binary_pattern(image, 16, 2.0, "default", dtype=np.uint16).dtype == np.uint16
    bad = [
        ("default", np.uint8),
        ("default", np.float16),
        ("var", np.int32),
        ("uniform", bool),
        ("uniform", "nonsense"),
    ]
    for method, dtype in bad:
        with pytest.raises(ConfigError, match="dtype cannot hold the result"):
            local_binary_pattern(image, 16, 2.0, method, dtype=dtype)  # type: ignore[call-overload]


def test_auto_takes_numba_once_it_was_used_or_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    image = random_image("uint8")
    monkeypatch.delitem(sys.modules, "nearfar.spatial.texture_numba", raising=False)
    assert texture._choose("auto", image) == "numpy"
    monkeypatch.setattr(texture, "NUMBA_FROM", image.size)
    assert texture._choose("auto", image) == "numba"
    monkeypatch.setattr(texture, "find_spec", lambda _: None)
    assert texture._choose("auto", image) == "numpy"
    monkeypatch.setitem(sys.modules, "nearfar.spatial.texture_numba", sys)
    assert texture._choose("auto", image) == "numba"
    assert texture._choose("auto", torch.zeros(3, 3)) == "numba"
    assert texture._choose("auto", torch.zeros(3, 3, device="meta")) == "torch"


def test_numba_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texture, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"numba: pip install 'nearfar\[geo\]'"):
        local_binary_pattern(np.zeros((4, 4)), backend="numba")


def test_numba_compiles_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    from nearfar.spatial.texture_numba import _compile

    def njit(cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    monkeypatch.setattr(numba, "njit", njit)
    assert _compile(len) == (len, {"nogil": True, "error_model": "numpy"})


def test_arrays_need_neither_torch_nor_numba() -> None:
    code = (
        "import sys, numpy as np; from nearfar.spatial.texture import *;"
        "lbp_histogram(local_binary_pattern(np.eye(9)));"
        "assert not {'torch', 'numba', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"points": 0}, ConfigError, "points is not valid .found 0, expected a whole number, 1 to 62"),
        ({"points": 63}, ConfigError, "points is not valid"),
        ({"points": 8.0}, ConfigError, "points is not valid"),
        ({"points": True}, ConfigError, "points is not valid"),
        ({"radius": 0}, ConfigError, "radius is not valid"),
        ({"radius": float("nan")}, ConfigError, "radius is not valid"),
        ({"radius": "2"}, ConfigError, "radius is not valid"),
        ({"blur": -1}, ConfigError, "blur is not valid"),
        ({"method": "unifrom"}, ConfigError, "Did you mean 'uniform'"),
        ({"backend": "numbo"}, ConfigError, "Did you mean 'numba'"),
        ({"image": np.zeros(5)}, ShapeError, r"found shape \(5,\), expected \[..., H, W\]"),
        ({"image": np.zeros((3, 0, 4))}, ShapeError, "no pixels"),
        ({"image": np.array([[1, np.nan], [np.inf, 0]])}, DataError, "2 values that are NaN or infinite"),
        ({"image": torch.tensor([[1, float("nan")]])}, DataError, "1 values that are NaN or infinite"),
        ({"image": np.zeros((2, 2), complex)}, DataError, "real numbers .found dtype complex128"),
        ({"image": torch.zeros(2, 2, dtype=torch.complex64)}, DataError, "real numbers"),
        ({"image": np.array([["a", "b"]])}, DataError, "real numbers"),
    ],
)
def test_wrong_use_is_named(change: dict[str, object], error: type[NearfarError], message: str) -> None:
    with pytest.raises(error, match=message):
        local_binary_pattern(**{"image": np.zeros((4, 4)), **change})  # type: ignore[call-overload]


@pytest.mark.parametrize("sigma", [0.4, 1.0, 5.0])
def test_blur_is_a_gaussian(sigma: float) -> None:
    from scipy.ndimage import gaussian_filter

    image = random_image("uint16", (2, 9, 12))
    blurred = gaussian_blur(image, sigma)
    expected = gaussian_filter(image.astype(float), (0, sigma, sigma), mode="reflect")
    np.testing.assert_allclose(blurred, expected, rtol=1e-12)
    assert equal(gaussian_blur(torch.from_numpy(image), sigma), blurred)
    flat = gaussian_blur(np.full((7, 5), 0.1), sigma)
    assert (flat == flat[0, 0]).all()


def test_blur_comes_before_the_pattern() -> None:
    image = random_image("uint8")
    assert equal(local_binary_pattern(image, blur=1.2), local_binary_pattern(gaussian_blur(image, 1.2)))
    assert not equal(local_binary_pattern(image, blur=1.2), local_binary_pattern(image))
