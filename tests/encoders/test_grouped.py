"""The grouped encoder against the loop over its groups."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from nearfar.config import EncoderConfig
from nearfar.encoders.backbone import Backbone
from nearfar.encoders.grouped import GroupEncoder
from nearfar.errors import ConfigError, ShapeError

GROUPS, TEXTURES = [(3, 2, 1), (4, 3, 2), (0, 4, 5)], [(0, 1, 2), (2, 1, 0)]


def resnet() -> nn.Module:
    torch.manual_seed(3)
    # With timm's zero-initialised last norms the residual branches would be silent and untested.
    return timm.create_model("resnet18", pretrained=False, num_classes=0, zero_init_last=False).double()


def inputs(batch: int = 3, size: int = 32) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    x = torch.rand(batch, 6, size, size, generator=source, dtype=torch.float64)
    return x, torch.rand(batch, 3, size, size, generator=source, dtype=torch.float64)


def loop(backbone: nn.Module, x: Tensor, textures: Tensor) -> Tensor:
    """[B, G, D], one pass a group."""
    parts = [x[:, list(g)] for g in GROUPS] + [textures[:, list(g)] for g in TEXTURES]
    return torch.stack([backbone(part) for part in parts], 1)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_one_pass_equals_the_loop_in_outputs_gradients_and_statistics(training: bool) -> None:
    one = resnet()
    many = GroupEncoder(copy.deepcopy(one), GROUPS, TEXTURES)
    one.train(training), many.train(training)
    x, textures = inputs()
    target = torch.randn(3, 5, 512, dtype=torch.float64)
    # Sums run in another order in channels-last memory, and norms over three values a channel make much of it.
    expected, got = loop(one, x, textures), many(x, textures)
    torch.testing.assert_close(got.each, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(got.pooled, expected.mean(1), rtol=1e-9, atol=1e-10)
    assert got.pyramid == ()
    (expected * target).sum().backward()
    (got.each * target).sum().backward()
    for (name, a), b in zip(one.named_parameters(), many.backbone.parameters(), strict=True):
        error = (a.grad - b.grad).abs().max() / a.grad.abs().max()
        assert error < 1e-9, name
    torch.testing.assert_close(dict(many.backbone.state_dict()), dict(one.state_dict()), rtol=1e-10, atol=1e-12)


def test_statistics_move_only_in_training() -> None:
    encoder = GroupEncoder(resnet(), GROUPS, TEXTURES)
    before = copy.deepcopy(encoder.state_dict())
    encoder.eval()(*inputs())
    torch.testing.assert_close(dict(encoder.state_dict()), dict(before), rtol=0, atol=0)
    encoder.train()(*inputs())
    assert encoder.backbone.bn1.num_batches_tracked == 5
    assert not torch.equal(encoder.backbone.bn1.running_mean, before["backbone.bn1.running_mean"])


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_pyramid_pools_every_stage_of_all_groups_in_the_same_pass(pool: str) -> None:
    encoder = GroupEncoder(resnet(), GROUPS, TEXTURES, pool).eval()
    x, textures = inputs(2)
    plain, full = encoder(x, textures), encoder(x, textures, pyramid=True)
    torch.testing.assert_close(full.each, plain.each, rtol=0, atol=0)
    torch.testing.assert_close(full.pooled, plain.each.mean(1) if pool == "mean" else plain.each.amax(1))
    assert [tuple(m.shape[1:]) for m in full.pyramid] == [
        (64, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)
    ]  # fmt: skip
    parts = [x[:, list(g)] for g in GROUPS] + [textures[:, list(g)] for g in TEXTURES]
    stages = [encoder.backbone.forward_intermediates(part, intermediates_only=True) for part in parts]
    for i, level in enumerate(full.pyramid):
        groups = torch.stack([stage[i] for stage in stages], 1)
        expected = groups.mean(1) if pool == "mean" else groups.amax(1)
        torch.testing.assert_close(level, expected, rtol=1e-12, atol=1e-12)


def test_every_group_reaches_the_pyramid() -> None:
    """The published decoder saw its last group alone."""
    encoder = GroupEncoder(resnet(), GROUPS).eval()
    x, _ = inputs(1)
    x.requires_grad_()
    encoder(x, pyramid=True).pyramid[2].sum().backward()
    assert (x.grad.abs().sum((0, 2, 3)) > 0).all()


def test_groups_mixed_without_group_norm() -> None:
    mixed = GroupEncoder(resnet(), GROUPS, TEXTURES, group_norm=False)
    separate = GroupEncoder(resnet(), GROUPS, TEXTURES)
    x, textures = inputs()
    assert (mixed(x, textures).each - separate(x, textures).each).abs().max() > 1e-3
    torch.testing.assert_close(mixed.backbone.bn1.num_batches_tracked, torch.tensor(1))


def test_works_on_nearfars_backbone() -> None:
    backbone = Backbone(EncoderConfig(name="resnet10t", size=32), 3)
    encoder = GroupEncoder(backbone, GROUPS)
    out = encoder(torch.rand(2, 6, 32, 32), pyramid=True)
    assert encoder.feature_dim == backbone.feature_dim == out.pooled.shape[1]
    assert out.each.shape == (2, 3, 512) and len(out.pyramid) == 5


def test_a_network_without_stages_says_so() -> None:
    encoder = GroupEncoder(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), GROUPS)
    x = torch.rand(2, 6, 8, 8)
    assert encoder(x).each.shape == (2, 3, 4) and encoder.feature_dim is None
    with pytest.raises(ConfigError, match="Sequential does not give its stages"):
        encoder(x, pyramid=True)


def test_stack_takes_the_named_channels_in_order() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    encoder = GroupEncoder(nn.Identity(), GROUPS, TEXTURES)
    stacked = encoder.stack(x, -x[:, :3])
    assert stacked[0, :, :, 0, 0].tolist() == [[3, 2, 1], [4, 3, 2], [0, 4, 5], [0, -1, -2], [-2, -1, 0]]
    only = GroupEncoder(nn.Identity(), [], TEXTURES).stack(x, -x[:, :3])
    assert only.shape == (1, 2, 3, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([(0, 1, 2), (0, 1)], ()), r"widths \[3, 2\]"),
        (([(0, 1, 2)], [(0, 1)]), r"widths \[3, 2\]"),
        (([], ()), r"widths \[\]"),
        (([(), ()], ()), r"widths \[0, 0\]"),
        (([(0, -1, 2)], ()), "count from 0"),
        (([(0, 1, 2)], (), "median"), "mean or max"),
    ],
)
def test_wrong_groups_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GroupEncoder(nn.Identity(), *arguments)  # type: ignore[arg-type]


def test_wrong_inputs_are_refused() -> None:
    plain, textured = GroupEncoder(nn.Identity(), GROUPS), GroupEncoder(nn.Identity(), GROUPS, TEXTURES)
    x, t = torch.zeros(2, 6, 4, 4), torch.zeros(2, 3, 4, 4)
    with pytest.raises(ShapeError, match=r"\(2, 5, 4, 4\).*6 or more"):
        plain(x[:, :5])
    with pytest.raises(ShapeError, match=r"texture maps \(2, 3, 4, 4\).*none"):
        plain(x, t)
    with pytest.raises(ShapeError, match=r"no texture maps.*2 groups"):
        textured(x)
    with pytest.raises(ShapeError, match=r"\(2, 2, 4, 4\).*3 or more"):
        textured(x, t[:, :2])
    with pytest.raises(ShapeError, match=r"\(2, 6, 4, 4\).*\(2, 3, 2, 2\)"):
        textured(x, t[..., :2, :2])
