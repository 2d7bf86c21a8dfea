"""Classes of patches of other data: three ways to a classifier, its numbers, and the map it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.config import EvalConfig
from nearfar.data.dataset import Record, TensorDataset
from nearfar.data.sample import Channels
from nearfar.errors import DataError
from nearfar.evaluate import evaluate, landcover, landcover_data
from nearfar.evaluate.heads import load_predictor
from nearfar.evaluate.landcover_fit import fit_linear, fit_parts
from nearfar.evaluate.landcover_maps import PatchClassifier, PatchMaps, patch_features, probabilities
from nearfar.train.run import Run


class Patches(TensorDataset):
    """Patches of three classes: dark, bright in B08, and coarse in texture; splits as in an official protocol."""

    def __init__(self, *rest: Any, **options: Any) -> None:
        super().__init__(*rest, **options)
        self.splits = [("train", "train", "train", "val", "test")[i % 5] for i in range(len(self))]

    @property
    def records(self) -> list[Record]:
        return [replace(r, split=s) for r, s in zip(super().records, self.splits, strict=True)]


def patches(count: int = 90, size: int = 64) -> Patches:
    rng = np.random.default_rng(0)
    labels = np.arange(count) // 5 % 3
    images = rng.normal(0.2, 0.03, (count, 4, size, size))
    images[labels == 1, 1] += 0.15
    rough = np.repeat(np.repeat(rng.normal(0, 0.05, (count, 4, size // 8, size // 8)), 8, 2), 8, 3)
    images[labels == 2] += rough[labels == 2] - 0.02
    channels = Channels.of({"s2": ["B02", "B08", "B04", "B03"]})
    return Patches(torch.from_numpy(images).float(), labels, channels=channels, classes=("dark", "bright", "rough"))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EvalConfig:
    """Lets the task find `patches`."""
    monkeypatch.setattr(landcover_data, "open_dataset", lambda config: patches(size=config.size))
    return EvalConfig(tasks=("landcover",), landcover=tmp_path, bootstrap=20, decoder_epochs=8)


@pytest.mark.parametrize("mode", ["linear", "histogram", "finetune"])
def test_a_classifier_is_learnt_reported_and_kept(band_run: Run, config: EvalConfig, mode: Any) -> None:
    report = evaluate(band_run, replace(config, landcover_mode=mode, decoder_epochs=8 if mode == "histogram" else 3))
    found = report["landcover"]
    assert band_run.metrics["landcover"] == found and found["mode"] == mode
    assert found["balanced_accuracy"]["value"] > 0.8
    assert (found["train_samples"], found["val_samples"], found["test_samples"]) == (54, 18, 18)
    assert found["bands"] == ["B08", "B02"] and found["sensor"].startswith("sentinel2")
    with np.load(band_run.arrays / "landcover.npz") as arrays:
        assert arrays["colour"].shape == arrays["false_colour"].shape == (9, 64, 64, 3)
        assert arrays["true"].shape == arrays["predicted"].shape == (18,)
        assert (arrays["true"] == arrays["predicted"]).mean() == pytest.approx(found["accuracy"]["value"])
        assert arrays["shown"].shape == (9,) and arrays["classes"].tolist() == ["dark", "bright", "rough"]
    predictor = load_predictor(band_run, "landcover")
    assert predictor.task == "landcover" and predictor.size_multiple == 1 and predictor.times == 1


def test_the_kept_head_classifies_as_the_report_did(band_run: Run, config: EvalConfig) -> None:
    evaluate(band_run, replace(config, landcover_mode="histogram"))
    classifier = load_predictor(band_run, "landcover").maps.classifier  # type: ignore[attr-defined]
    data = patches()
    test = [i for i, split in enumerate(data.splits) if split == "test"]
    with torch.no_grad():
        again = classifier(data.images[test][:, [1, 0]]).argmax(1)
    with np.load(band_run.arrays / "landcover.npz") as arrays:
        assert again.tolist() == arrays["predicted"].tolist()


def test_a_slid_classifier_maps_a_scene(band_run: Run, config: EvalConfig) -> None:
    evaluate(band_run, config)
    predictor = load_predictor(band_run, "landcover")
    data = patches()
    dark, bright = (data.images[np.flatnonzero(data.labels == c)[0], [1, 0]] for c in (0, 1))
    scene = torch.cat([torch.cat([dark] * 3, 2)[:, :, :150], torch.cat([bright] * 3, 2)[:, :, :150]], 1)[None].numpy()
    found = predictor(scene, np.ones((1, 128, 150), bool))
    assert found.shape == (3, 128, 150) and np.allclose(found.sum(0), 1, atol=1e-4)
    assert (found.argmax(0)[:33] == 0).mean() > 0.9 and (found.argmax(0)[96:] == 1).mean() > 0.9
    twice, valid = np.concatenate([scene, np.full_like(scene, np.nan)]), np.ones((2, 128, 150), bool)
    valid[1] = False
    assert np.allclose(predictor(twice, valid), found, atol=1e-5), "a date without data has no weight"


def test_between_centres_the_map_is_bilinear() -> None:
    class Corner(PatchClassifier):
        """Probability: the mean of the patch."""

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            p = x.mean((1, 2, 3))
            return torch.stack([p, 1 - p], 1)

    class Encoder:
        mean = torch.zeros(1)

    nothing = torch.zeros(1)
    maps = PatchMaps(Corner(Encoder(), nothing, nothing, False), (0,), patch=8, stride=4)  # type: ignore[arg-type]
    ramp = (torch.arange(40) + 0.5) / 40
    pixels = ramp.expand(1, 1, 24, 40)
    found = maps(pixels, torch.ones(1, 24, 40, dtype=torch.bool))
    assert found.shape == (2, 24, 40)
    assert torch.allclose(found[0, :, 4:-4], ramp[4:-4].expand(24, 32), atol=1e-5), "a ramp is its own mean"


def test_parts_have_scores_of_their_own_and_their_softmax_is_averaged() -> None:
    features, weight, bias = torch.randn(5, 2, 3), torch.randn(2, 4, 3), torch.randn(2, 4)
    each = [(features[:, g] @ weight[g].T + bias[g]).softmax(1) for g in range(2)]
    assert torch.allclose(probabilities(features, weight, bias), (each[0] + each[1]) / 2)


def test_histograms_tell_textures_that_features_do_not(band_run: Run) -> None:
    data, encoder = patches(), band_run.encoder()
    x = data.images[:, [1, 0]]
    with torch.no_grad():
        found = patch_features(encoder, x, True)
    assert found.shape == (90, 1, encoder.feature_dim + 2 * 18)
    texture = found[:, 0, encoder.feature_dim :].view(90, 2, 18)
    assert torch.allclose(texture.sum(2), torch.ones(90, 2)), "shares of each patch and channel"
    alone = patch_features(encoder, x[3:4], True)
    assert torch.allclose(alone[0, 0, encoder.feature_dim :], found[3, 0, encoder.feature_dim :])
    dark, bright, rough = (texture[data.labels == c].mean(0) for c in range(3))
    assert float((rough - dark).abs().max()) > 5 * float((bright - dark).abs().max())


def test_validation_patches_choose_and_without_them_nothing_is_scored() -> None:
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    z = torch.nn.functional.one_hot(labels, 3).float()[:, None] * 2 + torch.randn(60, 1, 3)
    for fit in (fit_linear, lambda *rest: fit_parts(*rest, epochs=20)):
        chosen = fit((z, labels), (z, labels), 3)
        assert 0.6 < chosen.score <= 1 and chosen.weight.shape == (1, 3, 3)
        right = probabilities(z, chosen.weight, chosen.bias).argmax(1) == labels
        assert float(right.float().mean()) == pytest.approx(chosen.score)
        assert np.isnan(fit((z, labels), None, 3).score)


def test_no_patches_or_no_labels_are_told(band_run: Run, config: EvalConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped = evaluate(band_run, EvalConfig(tasks=("landcover",)))["skipped"]["landcover"]
    assert "no labelled patches for landcover" in skipped and "--task landcover --root DATA" in skipped
    data = patches()
    data.labels[[i for i, split in enumerate(data.splits) if split == "test"]] = -1
    opener: Callable[[Any], Patches] = lambda config: data  # noqa: E731
    monkeypatch.setattr(landcover_data, "open_dataset", opener)
    with pytest.raises(DataError, match="none in the test split"):
        landcover.landcover_task(band_run, config)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["official", "spatial"])
def test_eurosat_by_its_lists(band_run: Run, tmp_path: Path, protocol: str) -> None:
    pytest.importorskip("rasterio")
    from nearfar.data.synthetic.sentinel_layouts import write_eurosat

    root = write_eurosat(tmp_path / "eurosat", per_class=10)
    config = EvalConfig(tasks=("landcover",), landcover=root, protocol=protocol, bootstrap=20)
    found = evaluate(band_run, config)["landcover"]
    assert (found["train_samples"], found["val_samples"], found["test_samples"]) == (60, 20, 20)
    assert found["balanced_accuracy"]["value"] > 0.2, "ten classes, an untrained encoder of two bands"
    assert found["protocol"] == protocol and found["sensor"] == "sentinel2_l1c" and len(found["per_class"]) == 10
    with np.load(band_run.arrays / "landcover.npz") as arrays:
        assert arrays["colour"].shape == arrays["false_colour"].shape == (20, 64, 64, 3)
