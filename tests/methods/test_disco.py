"""DiSCO: its configuration against its loss, the curriculum, the dense mode."""

import inspect
from dataclasses import fields
from typing import Any

import pytest
import torch

import nearfar
from nearfar.config import EncoderConfig
from nearfar.errors import ConfigError
from nearfar.losses.evidential import MODES, evidential
from nearfar.methods.base import Batch
from nearfar.methods.disco import COMMON, TAKEN, Disco, DiscoConfig

SMALL = EncoderConfig("nano_cnn", {"width": 8, "depth": 1, "output_stride": 8}, size=16)
LOSS_ONLY = {"z", "labels", "ids", "progress", "temperature", "statistics", "keys", "key_labels", "normalize", "eps"}
LOSS_ONLY |= {"memory", "exchange"}


def disco(**options: Any) -> Disco:
    torch.manual_seed(0)
    method = nearfar.create("disco", encoder=options.pop("encoder", SMALL), projection=(16, 8), **options)
    assert isinstance(method, Disco)
    return method


def batch_of(count: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    views = torch.rand(count, 2, 3, 16, 16, generator=generator)
    return {"views": views, "label": torch.arange(count) % 3, "index": torch.arange(count)}


def test_the_configuration_offers_what_the_loss_takes() -> None:
    for mode, function in MODES.items():
        names = set(inspect.signature(function).parameters) - LOSS_ONLY - {"prior_weight"}
        assert names == TAKEN[mode] - {"momentum"}
    assert {field.name for field in fields(DiscoConfig)} == COMMON.union(*TAKEN.values())


@pytest.mark.parametrize(
    "evidence", ["hinge", "softplus", "log_likelihood_ratio", "neighbourhood", "reference", "exp_tanh"]
)
def test_principled_is_its_loss_for_every_evidence(evidence: str) -> None:
    method, batch = disco(evidence=evidence, kappa=4.0, gamma=0.5, class_balanced=True, curriculum="cosine"), batch_of()
    method.set_progress(0.3)
    expected = evidential(
        method.embed(batch["views"]), batch["label"], batch["index"], progress=0.3, evidence=evidence, kappa=4.0,
        gamma=0.5, class_balanced=True, curriculum="cosine",
    )  # fmt: skip
    torch.testing.assert_close(method.step(batch).loss, expected)


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({"mode": "reference"}, {"mode": "reference"}),
        (
            {"mode": "reference", "self_is_negative": False, "detach_beta": True, "curriculum": "tanh"},
            {"mode": "reference", "self_is_negative": False, "detach_beta": True, "curriculum": "tanh"},
        ),
        ({"mode": "later", "variant": "no_uncertainty"}, {"mode": "later", "variant": "no_uncertainty"}),
        ({"evidence": "none", "gamma": 0.0}, {"evidence": None, "gamma": 0.0}),
    ],
)
def test_the_published_forms_and_the_plain_one(options: dict[str, Any], loss: dict[str, Any]) -> None:
    method, batch = disco(**options), batch_of()
    method.set_progress(0.5)
    z = method.embed(batch["views"])
    torch.testing.assert_close(
        method.step(batch).loss, evidential(z, batch["label"], batch["index"], progress=0.5, **loss)
    )


def test_progress_moves_the_weights() -> None:
    method, batch = disco(margin=0.9), batch_of()
    early = method.step(batch).loss
    method.set_progress(1.0)
    assert not torch.isclose(early, method.step(batch).loss)


def test_running_statistics_are_kept_in_training_and_saved() -> None:
    method = disco(momentum=0.5).train()
    assert method.state_dict()["loss.moments"].isnan().all()
    method.step(batch_of())
    kept = method.state_dict()["loss.moments"].clone()
    assert kept.isfinite().all()
    method.eval().step(batch_of() | {"views": torch.rand(12, 2, 3, 16, 16)})
    assert torch.equal(method.state_dict()["loss.moments"], kept)


@pytest.mark.parametrize("mode", ["principled", "reference", "later"])
def test_dense_contrasts_patches_of_the_views(mode: str) -> None:
    method, batch = disco(mode=mode, dense=True).train(), batch_of(6)
    z = method.project(batch)["z"]
    assert z.shape == (6, 2, 4, 8)
    labels, ids = batch["label"].repeat_interleave(2), batch["index"].repeat_interleave(2)
    options = {"evidence": "patches"} if mode == "principled" else {}
    expected = evidential(z.flatten(0, 1), labels, ids, mode=mode, **options)  # type: ignore[arg-type]
    out = method.step(batch)
    torch.testing.assert_close(out.loss, expected)
    out.loss.backward()
    assert all(p.grad is not None for p in method.parameters())


def test_dense_vit_leaves_the_class_token_out() -> None:
    method = disco(dense=True, encoder=EncoderConfig("nano_vit", {"depth": 1}, size=16))
    assert method.project(batch_of(2))["z"].shape == (2, 2, 4, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "reference", "kappa": 3.0}, r"method\.kappa.*set method\.mode to principled"),
        ({"detach_beta": True}, r"method\.detach_beta.*set method\.mode to reference"),
        ({"mode": "referense"}, "reference"),
        ({"evidence": "hing"}, "hinge"),
        ({"margin": 1.5}, "margin"),
        ({"dense": True, "evidence": "softplus"}, r"method\.evidence.*hinge"),
        ({"dense": True, "encoder": EncoderConfig("nano_cnn", size=16)}, r"method\.dense.*at least two cells"),
    ],
)
def test_options_that_do_nothing_or_do_not_exist_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        disco(**options).step(batch_of())


def test_mean_opinions_of_weak_pairs_are_logged_and_sum_to_one() -> None:
    parts = disco().step(batch_of()).parts
    assert set(parts) == {"belief", "disbelief", "uncertainty"}
    assert sum(parts.values()).item() == pytest.approx(1.0)
    assert not any(value.requires_grad for value in parts.values())


def test_modes_without_opinions_log_none() -> None:
    assert disco(mode="reference").step(batch_of()).parts == {}
    assert disco(evidence="none").step(batch_of()).parts == {}
