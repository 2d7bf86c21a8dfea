"""SMCL's encoder: what its views keep, what is no negative, the spectral part, the published form, and learning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import nearfar
from nearfar import configio
from nearfar.config import EncoderConfig, ViewsConfig
from nearfar.data.open import open_dataset
from nearfar.data.readers.mir180 import Mir180
from nearfar.errors import ConfigError, DataError
from nearfar.losses import mirror_nce, published_mirror_loss, spectral_contrast
from nearfar.methods.base import Batch
from nearfar.methods.smcl import SMCL, fingerprints
from nearfar.train import fit

STILL = ViewsConfig(recipe="study", count=3, strength=0.0, flip_horizontal=0.0)
SMALL = EncoderConfig("cnn_ffc", {"pool": 1}, size=16)


def make(encoder: EncoderConfig = SMALL, views: ViewsConfig | None = None, **options: Any) -> SMCL:
    torch.manual_seed(0)
    method = nearfar.create("smcl", encoder=encoder, views=views or STILL, **{"recolour": 0.0} | options)
    assert isinstance(method, SMCL)
    return method


def triples(count: int = 6, size: int = 16) -> Batch:
    source = torch.Generator().manual_seed(1)
    image, mirror, opposite = torch.rand(3, count, 3, size, size, generator=source)
    negative = torch.arange(count) % 3 > 0
    return {"image": image, "mirror": mirror, "opposite": opposite, "negative": negative, "seed": torch.arange(count)}


def test_views_are_the_three_pictures_unless_asked_otherwise() -> None:
    batch = triples()
    views = make().views(batch)["views"]
    assert torch.equal(views, torch.stack([batch["image"], batch["opposite"], batch["mirror"]], 1))
    single = make().views({name: value[2] for name, value in batch.items()})
    assert torch.equal(single["views"], views[2]) and single["pictures"].shape == (3,)


def test_a_triple_is_flipped_as_a_whole_and_its_values_change_picture_by_picture() -> None:
    batch = triples(32)
    batch |= {"mirror": batch["image"], "opposite": batch["image"]}
    flipped = make(views=ViewsConfig(recipe="study", count=3, strength=0.0, flip_horizontal=0.5)).views(batch)["views"]
    turned = (flipped == batch["image"].flip(-1)[:, None]).flatten(1).all(1)
    kept = (flipped == batch["image"][:, None]).flatten(1).all(1)
    assert bool((turned ^ kept).all()) and 4 < int(turned.sum()) < 28
    changed = make(views=ViewsConfig(recipe="study", count=3, strength=0.5, flip_horizontal=0.0)).views(batch)["views"]
    assert not torch.equal(changed[:, 0], changed[:, 1]) and not torch.equal(changed[:, 1], changed[:, 2])
    again = make(views=ViewsConfig(recipe="study", count=3, strength=0.5, flip_horizontal=0.0)).views(
        {name: value[4:9] for name, value in batch.items()}
    )
    torch.testing.assert_close(again["views"], changed[4:9])


def test_the_three_views_of_an_object_get_the_same_other_colours() -> None:
    batch = triples(16)
    batch |= {"mirror": batch["image"].flip(-1), "opposite": batch["image"]}
    batch["image"][:, :, 0, 0], batch["image"][:, :, 0, 1] = 0.0, 1.0
    batch["mirror"] = batch["image"].flip(-1)
    image, opposite, mirror = make(recolour=1.0).views(batch)["views"].unbind(1)
    torch.testing.assert_close(mirror, image.flip(-1))
    torch.testing.assert_close(opposite, image)
    assert bool((image[:, :, 0, 0] == 0).all()) and bool((image[:, :, 0, 1] == 1).all())
    ordered = [x.flatten(2).mean(2).argsort(1) for x in (batch["image"], image)]
    assert 0 < int((ordered[0] == ordered[1]).all(1).sum()) < 16  # some change places, of one object as of no other
    assert len(image[:, 0, 5, 5].unique()) == 16
    again = make(recolour=1.0).views({name: value[3:5] for name, value in batch.items()})["views"]
    torch.testing.assert_close(again[:, 0], image[3:5])


def test_the_loss_is_that_of_the_formula_with_masks() -> None:
    method, batch = make().eval(), triples()
    batch["opposite"][1] = batch["mirror"][0]
    viewed = method.views(batch)
    a, o, m = method.project(viewed)["z"].unbind(1)
    out = method.criterion(method.project(viewed), viewed)
    known = {"valid": batch["negative"], "ids": viewed["pictures"], "temperature": 0.1}
    torch.testing.assert_close(out.loss, mirror_nce(a, m, o, **known))
    assert viewed["pictures"][1, 2] == viewed["pictures"][0, 1]
    assert 0 <= float(out.parts["triplet"]) <= 1
    blind = make(mask_symmetric=False).eval()
    assert blind.criterion({"z": torch.stack([a, o, m], 1)}, viewed).loss > out.loss


def test_the_spectral_part_is_on_the_same_encoder() -> None:
    method, batch = make(spectral=0.1, margin=0.5).eval(), triples()
    viewed = method.views(batch)
    made = method.project(viewed)
    torch.testing.assert_close(made["z"], make().eval().project(viewed)["z"])
    a, o, m = made["map"].unbind(1)
    out = method.criterion(made, viewed)
    spectral = spectral_contrast(a, m, o, valid=batch["negative"], margin=0.5)
    torch.testing.assert_close(out.parts["spectral"], spectral.detach())
    torch.testing.assert_close(out.loss, out.parts["contrast"] + 0.1 * spectral)


def test_the_published_loss_is_offered_under_its_name() -> None:
    method, batch = make(loss="published"), triples()
    viewed = method.views(batch)
    made = method.project(viewed)
    a, o, m = made["map"].unbind(1)
    torch.testing.assert_close(method.criterion(made, viewed).loss, published_mirror_loss(a, m, o, temperature=0.1))
    assert method.chance(48) == math.log(256)
    assert make().chance(48) == math.log(96) and make(in_batch=False).chance(48) == math.log(2)


def test_the_reference_preset_is_the_published_trunk() -> None:
    method = nearfar.create("smcl_reference", encoder=EncoderConfig("cnn_ffc", {"squeeze": False, "pool": 4}))
    assert sum(p.numel() for p in method.parameters()) == 261_848
    config = configio.load("smcl_reference", None, {})
    assert config.method.loss == "published" and config.train.batch_size == 100  # type: ignore[attr-defined]
    assert config.encoder.options == {"activation": "identity", "squeeze": False, "pool": 4}


def test_pictures_are_told_apart_by_one_value() -> None:
    images = torch.rand(4, 3, 3, 8, 8)
    images[2, 1] = images[0, 0]
    images[3, 2] = images[0, 0]
    images[3, 2, 0, 4, 4] += 1 / 255
    ids = fingerprints(images)
    assert ids[2, 1] == ids[0, 0] != ids[3, 2]
    assert len(ids.unique()) == 11


@pytest.mark.parametrize(
    ("options", "views", "message"),
    [
        ({}, ViewsConfig(recipe="standard", count=3), "where the camera stands"),
        ({}, ViewsConfig(recipe="study", count=2), "three views"),
        ({"loss": "literal"}, None, "mirror or published"),
        ({"loss": "published", "projection": (8,)}, None, "a head would learn nothing"),
        ({"spectral": -1.0}, None, "not negative"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], views: ViewsConfig | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(views=views, **options)


def test_ordinary_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"batch\['opposite'\].*nearfar data mir180"):
        make().step({"image": torch.rand(4, 3, 16, 16)})


def test_it_trains_from_a_folder_by_the_ordinary_trainer(tmp_path: Path) -> None:
    root = Mir180().write_example(tmp_path / "data", count=40, size=16)
    settings = {
        "data.root": root, "data.size": 16, "encoder.size": 16, "encoder.options": {"pool": 1}, "train.epochs": 12,
        "train.batch_size": 10, "train.threads": 1, "train.health_every": 12, "train.checkpoint_every": 100,
    }  # fmt: skip
    config = configio.load("smcl", None, settings)
    run = fit(config, tmp_path / "run")
    lines = [line for line in run.history() if line["kind"] == "epoch"]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert lines[-1]["parts/triplet"] >= 0.8 and lines[-1]["loss_baseline"] == math.log(20)
    assert lines[-1]["health/alignment"] < 1
    test = open_dataset(config.data, "test")
    assert run.encoder()(test[0]["image"][None]).shape == (1, 128)
