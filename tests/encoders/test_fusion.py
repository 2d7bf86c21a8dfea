"""Modality dropout and late fusion."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.fusion import LateFusion, drop_modalities
from nearfar.encoders.image import ImageEncoder

THREE = Channels.of({"rgb": ["r", "g", "b"], "thermal": [""], "depth": [""]})


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.999), st.integers(0, 2**31))
def test_a_modality_is_dropped_whole_and_never_all(probability: float, seed: int) -> None:
    torch.manual_seed(seed)
    kept = drop_modalities(torch.ones(32, 5, 2, 2), THREE, probability)
    per_channel = kept.mean((2, 3))
    assert ((per_channel == 0) | (per_channel == 1)).all()
    assert (per_channel[:, 0] == per_channel[:, 1]).all() and (per_channel[:, 0] == per_channel[:, 2]).all()
    assert (per_channel.sum(1) > 0).all()


def test_the_rate_of_dropout_and_its_repetition_follow_torchs_seed() -> None:
    x = torch.ones(20_000, 5, 1, 1)
    torch.manual_seed(7)
    first = drop_modalities(x, THREE, 0.3)
    torch.manual_seed(7)
    assert torch.equal(first, drop_modalities(x, THREE, 0.3))
    # A sample whose three modalities would all go keeps one: 0.3 - 0.3**3 / 3 of each is zero.
    assert abs(float((first[:, 3] == 0).float().mean()) - (0.3 - 0.3**3 / 3)) < 0.01


def test_dropout_acts_in_training_only() -> None:
    encoder = ImageEncoder(EncoderConfig("nano_cnn", size=32, modality_dropout=0.9), THREE)
    x = torch.rand(16, 5, 32, 32)
    assert (encoder.train().prepare(x) == 0).any()
    torch.testing.assert_close(encoder.eval().prepare(x), x)


def test_dropout_of_a_single_modality_does_nothing() -> None:
    x = torch.rand(4, 3, 2, 2)
    assert drop_modalities(x, Channels.of({"rgb": ["r", "g", "b"]}), 0.9) is x


def test_late_fusion_gives_each_modality_its_own_backbone() -> None:
    fused = LateFusion(EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32), THREE).eval()
    x = torch.rand(2, 5, 32, 32)
    changed = x.clone()
    changed[:, 3] += 1.0
    hidden = [b(x[:, span]) for b, span in zip(fused.backbones, fused.spans, strict=True)]
    hidden_changed = [b(changed[:, span]) for b, span in zip(fused.backbones, fused.spans, strict=True)]
    assert [torch.equal(a, b) for a, b in zip(hidden, hidden_changed, strict=True)] == [True, False, True]
    assert not torch.equal(fused(x), fused(changed))


def test_the_mean_of_the_late_map_is_the_late_feature() -> None:
    fused = LateFusion(EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32), THREE).eval()
    x = torch.rand(2, 5, 32, 32)
    torch.testing.assert_close(fused.dense(x).mean((2, 3)), fused(x), atol=1e-5, rtol=1e-4)
