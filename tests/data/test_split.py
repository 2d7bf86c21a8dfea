"""Splits keep proportions, groups and near-duplicates: nothing leaks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nearfar.data.split import groups_by_pattern, merged, near_duplicate_groups, perceptual_print, stratified
from nearfar.data.synthetic import tiny
from nearfar.errors import ConfigError, DataError, ShapeError

SAMPLES = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 9)), min_size=1, max_size=80)
SHARES = st.lists(st.integers(0, 10), min_size=1, max_size=4).filter(any)


@settings(max_examples=80, deadline=None)
@given(samples=SAMPLES, shares=SHARES, seed=st.integers(0, 99))
def test_groups_never_straddle_and_nothing_is_lost(samples: list, shares: list, seed: int) -> None:
    labels, groups = map(np.array, zip(*samples, strict=True))
    parts = stratified(labels, shares, seed, groups)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    found = [set(groups[part]) for part in parts]
    assert sum(map(len, found)) == len(set(groups))
    assert all(len(part) == 0 for part, share in zip(parts, shares, strict=True) if share == 0)


@settings(max_examples=80, deadline=None)
@given(samples=SAMPLES, shares=SHARES, seed=st.integers(0, 99))
def test_classes_keep_their_shares(samples: list, shares: list, seed: int) -> None:
    labels = np.array([label for label, _ in samples])
    parts = stratified(labels, shares, seed)
    for part, share in zip(parts, shares, strict=True):
        for label in set(labels):
            wanted = (labels == label).sum() * share / sum(shares)
            assert abs((labels[part] == label).sum() - wanted) <= 2


def test_many_tiny_classes_are_not_all_rounded_alike() -> None:
    parts = stratified(np.repeat(np.arange(100), 3), (0.7, 0.1, 0.2), 0)
    assert [len(p) for p in parts] == pytest.approx([210, 30, 60], abs=6)


def test_seed_decides() -> None:
    labels = np.zeros(50, int)
    first = [stratified(labels, (1, 1), seed)[0].tolist() for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]


def test_empty_group_names_are_no_group() -> None:
    parts = stratified([0] * 40, (0.5, 0.5), 0, [""] * 40)
    assert [len(p) for p in parts] == [20, 20]


def test_impossible_splits() -> None:
    with pytest.raises(ConfigError, match=r"shares.*\[0, 0\]"):
        stratified([0, 1], (0, 0), 0)
    with pytest.raises(ShapeError, match="found 1, expected 2"):
        stratified([0, 1], (1, 1), 0, ["a"])


def _variants(folder: Path, name: str, pixels: np.ndarray) -> list[Path]:
    """An image, its JPEG, a noisy and a brighter version, and one of half the size."""
    rng = np.random.default_rng(0)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=70)
    noisy = (pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)
    brighter = (pixels * 1.1 + 4).clip(0, 255).astype(np.uint8)
    half = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BOX))
    paths = [folder / f"{name}{i}.png" for i in range(5)]
    for path, image in zip(paths, (pixels, np.asarray(Image.open(jpeg)), noisy, brighter, half), strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_near_duplicates_are_grouped_and_others_are_not(tmp_path: Path) -> None:
    families = [_variants(tmp_path, item.id, item.rgb) for item in tiny.items(6, 128)]
    groups = near_duplicate_groups([path for family in families for path in family]).reshape(6, 5)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups)) == 6


def test_real_photographs_of_different_parts_are_no_duplicates(shared_data: Path) -> None:
    paths = sorted((shared_data / "mvtec_transistor_128" / "train" / "good").glob("*.png"))[:60]
    assert len(np.unique(near_duplicate_groups(paths))) == 60


def test_prints_are_of_unit_length_and_blind_to_exposure() -> None:
    first, second = (perceptual_print(item.rgb) for item in tiny.items(2, 72, seed=3))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    assert first @ second < 0.9
    brighter = next(tiny.items(1, 72, seed=3)).rgb * 0.5 + 90
    assert first @ perceptual_print(brighter) == pytest.approx(1, abs=1e-5)


def test_prints_follow_the_file(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    first, second = (item.rgb for item in tiny.items(2, 40))
    for path in paths:
        tiny.save(path, first)
    assert near_duplicate_groups(paths).tolist() == [0, 0]
    tiny.save(paths[1], second[:36])
    assert near_duplicate_groups(paths).tolist() == [0, 1]


def test_constant_images_are_alike(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (20, 20), 90 * number).save(tmp_path / f"{number}.png")
    tiny.save(tmp_path / "3.png", next(tiny.items(1, 20)).rgb)
    assert near_duplicate_groups(sorted(tmp_path.glob("*.png"))).tolist() == [0, 0, 0, 3]


def test_print_of_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="does not exist"):
        near_duplicate_groups([tmp_path / "a.png"])


def test_no_images_no_groups() -> None:
    assert near_duplicate_groups([]).shape == (0,)


def test_merged_groups_join_over_duplicates() -> None:
    groups = merged(["a", "a", "b", "", "c", ""], np.array([0, 1, 1, 2, 3, 4]))
    assert len(set(groups[:3])) == 1
    assert len(set(groups)) == 4


def test_groups_by_pattern() -> None:
    assert groups_by_pattern(["p1_a.png", "p2_a.png", "x.png"], r"^(p\d)_") == ["p1", "p2", ""]
    for pattern, text in (("(", "not a regular"), ("p1", "no group"), ("(zz)", "matches no sample")):
        with pytest.raises(ConfigError, match=text):
            groups_by_pattern(["p1_a.png"], pattern)
