"""The Sentinel-2 world: reproducible, physically plausible, truly changing, and not solved by texture alone."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nearfar.data.synthetic.sentinel import (
    BANDS,
    CHANGES,
    CLASS_ID,
    CLASSES,
    Change,
    Recipe,
    Scene,
    View,
    digital_numbers,
)
from nearfar.data.synthetic.sentinel_layouts import EUROSAT_BANDS, EUROSAT_RECIPES, eurosat_patch
from nearfar.data.synthetic.sentinel_spectra import RESOLUTION, abundances, surface_spectra
from nearfar.errors import ConfigError

RICH = Recipe(forest=0.3, town=0.15, industry=0.05, roads=1, river=5.0, sea=0.15)
PUBLISHED = {  # mean of EuroSAT's L1C digital numbers, as torchgeo publishes them
    **{"B01": 1354.41, "B02": 1118.24, "B03": 1042.93, "B04": 947.63, "B05": 1199.47, "B06": 1999.79, "B07": 2369.22},
    **{"B08": 2296.83, "B09": 732.08, "B10": 12.11, "B11": 1819.01, "B12": 1118.92, "B8A": 2594.14},
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(4, 120, recipe=RICH)


def ndvi(view: View) -> np.ndarray:
    red, near = view.stack(["B04", "B08"])
    return np.asarray((near - red) / (near + red))


def test_the_same_seed_gives_the_same_arrays_in_any_order(scene: Scene) -> None:
    again = Scene(4, 120, recipe=RICH)
    second = again.render(200, 1, cloud=0.2)
    first = again.render(100, 0)
    assert np.array_equal(scene.cover, again.cover)
    for band in BANDS:
        assert np.array_equal(first.bands[band], scene.render(100, 0).bands[band])
        assert np.array_equal(second.bands[band], scene.render(200, 1, cloud=0.2).bands[band])
    assert not np.array_equal(first.bands["B04"], scene.render(100, 1).bands["B04"])
    assert not np.array_equal(scene.cover, Scene(5, 120, recipe=RICH).cover)


def test_every_band_has_its_own_resolution_whatever_the_size() -> None:
    view = Scene(0, 64).render(150)
    assert {band: pixels.shape[0] for band, pixels in view.bands.items()} == {
        band: 66 * 10 // metres for band, metres in RESOLUTION.items()
    }
    stack = view.stack()
    assert stack.shape == (13, 64, 64)
    assert stack.dtype == np.float32
    assert np.isfinite(stack).all()
    assert digital_numbers(stack).min() >= 1


def test_stacking_coarse_bands_keeps_their_mean(scene: Scene) -> None:
    view = scene.render(150)
    for band in ("B05", "B09"):
        assert view.stack([band]).mean() == pytest.approx(view.bands[band].mean(), rel=0.01)


def test_shares_of_endmembers_are_shares() -> None:
    shares = abundances(np.linspace(0, 365, 40), np.full(40, 0.3))
    assert shares.min() >= 0
    assert np.allclose(shares.sum(-1), 1)


@pytest.mark.parametrize(
    ("name", "green", "brown"),
    [("wheat", 130, 215), ("corn", 215, 120), ("sunflower", 190, 100), ("broadleaf", 200, 30), ("rapeseed", 90, 230)],
)
def test_plants_are_green_in_their_season(name: str, green: float, brown: float) -> None:
    spectra = surface_spectra(np.array([green, brown]), np.full(2, 0.3))[:, CLASS_ID[name]]
    red, near = spectra[:, BANDS.index("B04")], spectra[:, BANDS.index("B08")]
    index = (near - red) / (near + red)
    assert index[0] > 0.6
    assert index[1] < index[0] - 0.25


def test_classes_look_like_what_they_are(scene: Scene) -> None:
    assert {"sea", "river", "residential", "road"} <= {CLASSES[c] for c in np.unique(scene.cover)}
    view = scene.render(200)
    near, short = view.stack(["B08", "B12"])
    water = scene.cover == CLASS_ID["sea"]
    forest = np.isin(scene.cover, [CLASS_ID["broadleaf"], CLASS_ID["conifer"]])
    town = scene.cover == CLASS_ID["residential"]
    assert np.median(near[water]) < 0.03
    assert np.median(ndvi(view)[forest]) > 0.6
    assert np.median(ndvi(view)[town]) < np.median(ndvi(view)[forest]) - 0.15
    assert np.median(short[town]) > 2 * np.median(short[forest])


def test_clouds_are_where_the_mask_says_and_shadows_are_dark(scene: Scene) -> None:
    clear, cloudy = scene.render(200, 7), scene.render(200, 7, cloud=0.25)
    blue, blue_clear = (view.stack(["B02"])[0] for view in (cloudy, clear))
    near, near_clear = (view.stack(["B08"])[0] for view in (cloudy, clear))
    assert 0.1 < cloudy.cloud.mean() < 0.3
    assert not clear.cloud.any()
    assert np.median(blue[cloudy.cloud]) > 3 * np.median(blue_clear)
    shaded = cloudy.shadow & ~cloudy.cloud
    assert shaded.mean() > 0.02
    assert np.median(near[shaded] / near_clear[shaded]) < 0.85


def test_above_the_atmosphere_blue_is_brighter_and_the_ground_unseen_in_b10(scene: Scene) -> None:
    above, below = scene.render(200, level="L1C"), scene.render(200)
    assert above.bands["B01"].mean() > below.bands["B01"].mean() + 0.05
    assert above.bands["B10"].mean() < 0.01
    with pytest.raises(ConfigError, match="L1C or L2A"):
        scene.render(200, level="L3")


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_are_real_and_only_where_the_mask_says(scene: Scene, kind: str) -> None:
    change = scene.change(kind)
    assert isinstance(change, Change)
    assert 0 < change.mask.mean() < 0.4
    assert np.array_equal(change.cover != scene.cover, change.mask)
    before, after = scene.render(200, 3).stack(), scene.render(200, 3, cover=change.cover).stack()
    difference = np.abs(after - before)[[1, 2, 3, 7]].max(0)
    far = np.ones_like(change.mask)
    for row, col in np.argwhere(change.mask):
        far[max(row - 9, 0) : row + 10, max(col - 9, 0) : col + 10] = False
    assert np.median(difference[change.mask]) > 0.02
    assert difference[far].max(initial=0) < 1e-4
    assert not np.array_equal(scene.change(kind, 1).mask, change.mask)


def test_a_change_of_nothing_is_empty() -> None:
    bare = Scene(0, 48, recipe=Recipe(forest=0, town=0, industry=0, roads=0))
    assert not bare.change("clearcut").mask.any()


def test_wrong_use() -> None:
    with pytest.raises(ConfigError, match="at least 32"):
        Scene(0, 31)
    with pytest.raises(ConfigError, match="build, clearcut, flood"):
        Scene(0, 48).change("fire")


def test_five_dates_of_a_scene_are_fast() -> None:
    start = time.process_time()
    scene = Scene(1, 128)
    for date in range(5):
        scene.render(60 + 50 * date, date, cloud=0.1)
    assert time.process_time() - start < 1.5


@pytest.mark.slow
def test_band_means_are_those_of_eurosat() -> None:
    patches = np.stack([eurosat_patch(name, i, region=i) for name in EUROSAT_RECIPES for i in range(8)])
    ratios = patches.mean((0, 2, 3)) / [PUBLISHED[band] for band in EUROSAT_BANDS]
    assert ratios.min() > 0.75
    assert ratios.max() < 1.25


def test_texture_differs_more_between_places_than_it_tells_of_the_class() -> None:
    """Local contrast, relative to brightness, of one class in many places spans far more than its class's tendency."""

    def roughness(name: str) -> np.ndarray:
        values = []
        for seed in range(8):
            scene = Scene(seed, 48, recipe=Recipe(forest=0, town=0, industry=0, roads=0, crops={name: 1.0}))
            image = scene.render(200).stack(["B08"])[0]
            values.append(np.log(np.abs(np.diff(image, axis=1)).mean() / image.mean()))
        return np.array(values)

    meadow, corn = roughness("meadow"), roughness("corn")
    within = np.sqrt((meadow.var() + corn.var()) / 2)
    assert within > 0.2
    assert abs(meadow.mean() - corn.mean()) < 2 * within
