"""Attention maps against independent numbers: the published ViT's, and small matrices by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nearfar.config import EncoderConfig
from nearfar.encoders.backbone import Backbone
from nearfar.encoders.rollout import last_block, rollout, rollout_matrix, similarity
from nearfar.errors import ConfigError, ShapeError


def test_the_published_vit_gives_its_outputs_and_its_attention(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "disco" / "vit_nano.npz")
    options = {"patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_ratio": 2}
    backbone = Backbone(EncoderConfig("vit_tiny_patch16_224", options, size=32), 3).eval()
    for module in backbone.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5  # as the published code, where timm has 1e-6
    state = {k.removeprefix("param/"): torch.from_numpy(golden[k]) for k in golden.files if k.startswith("param/")}
    head = nn.functional.linear
    weight, bias = state.pop("head.weight"), state.pop("head.bias")
    backbone.model.load_state_dict(state)
    x = torch.from_numpy(golden["x"])
    patches = backbone.dense(x).flatten(2).transpose(1, 2)
    np.testing.assert_allclose(head(patches, weight, bias).detach().numpy(), golden["out"], atol=1e-6)
    maps = backbone.attention(x)
    for block, attention in enumerate(maps):
        np.testing.assert_allclose(attention.numpy(), golden[f"attn/{block}"], atol=1e-6)


def random_maps(blocks: int = 3, tokens: int = 7) -> list[Tensor]:
    return [torch.rand(2, 4, tokens, tokens).softmax(-1) for _ in range(blocks)]


def test_rollout_is_the_product_of_the_halved_maps() -> None:
    maps = random_maps()
    eye = np.eye(7)
    for image in range(2):
        expected = eye
        for attention in maps:
            expected = 0.5 * (attention[image].mean(0).numpy() + eye) @ expected
        np.testing.assert_allclose(rollout_matrix(maps)[image].numpy(), expected, atol=1e-6)
        found = rollout(maps, (2, 3))[image].numpy()
        np.testing.assert_allclose(found, expected[0, 1:].reshape(2, 3), atol=1e-6)
    torch.testing.assert_close(rollout_matrix(maps).sum(-1), torch.ones(2, 7))


def test_the_rollout_of_blocks_that_do_not_mix_stays_at_home() -> None:
    maps = [torch.eye(7).expand(1, 2, 7, 7)] * 4
    torch.testing.assert_close(rollout_matrix(maps), torch.eye(7)[None])


def test_last_block_is_what_the_class_token_attends_to() -> None:
    maps = random_maps()
    torch.testing.assert_close(last_block(maps, (2, 3)), maps[-1].mean(1)[:, 0, 1:].reshape(2, 2, 3))


def test_without_a_class_token_every_patch_asks() -> None:
    maps = random_maps(tokens=6)
    expected = maps[-1].mean((1, 2)).reshape(2, 2, 3)
    torch.testing.assert_close(last_block(maps, (2, 3), prefix_tokens=0), expected)


def test_similarity_is_one_at_the_chosen_patch_and_blind_to_length() -> None:
    features = torch.randn(2, 5, 3, 4)
    found = similarity(features, 1, 2)
    torch.testing.assert_close(found[:, 1, 2], torch.ones(2))
    expected = nn.functional.cosine_similarity(features, features[:, :, 1, 2, None, None].expand_as(features), 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(similarity(features * 9, 1, 2), found)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"block 0 .* 2 x 2 patches"):
        last_block(random_maps(), (2, 2))
    with pytest.raises(ShapeError, match="no attention map"):
        rollout([], (2, 3))
    with pytest.raises(ConfigError, match=r"\(3, 0\)"):
        similarity(torch.rand(1, 2, 3, 4), 3, 0)
