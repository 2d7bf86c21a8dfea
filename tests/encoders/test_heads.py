"""Projection heads: their layers, and independence of the batch where promised."""

import pytest
import torch
from torch import nn

from nearfar.encoders.heads import projection_head
from nearfar.errors import ConfigError


@pytest.mark.parametrize(
    ("norm", "kinds"),
    [
        ("batch", [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]),
        ("layer", [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear]),
        ("none", [nn.Linear, nn.ReLU, nn.Linear]),
    ],
)
def test_layers(norm: str, kinds: list[type]) -> None:
    head = projection_head(6, (8, 4), norm)  # type: ignore[arg-type]
    assert [type(layer) for layer in head.children()] == kinds
    assert head(torch.rand(3, 6)).shape == (3, 4)


def test_no_width_is_the_identity() -> None:
    x = torch.rand(3, 6)
    assert torch.equal(projection_head(6, ())(x), x)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_a_row_does_not_depend_on_the_others(norm: str) -> None:
    head, x = projection_head(6, (8, 8, 4), norm), torch.rand(5, 6)  # type: ignore[arg-type]
    torch.testing.assert_close(head(x)[:1], head(x[:1]))


def test_wrong_use() -> None:
    with pytest.raises(ConfigError, match="batch, layer or none"):
        projection_head(6, (4,), "instance")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="positive"):
        projection_head(6, (4, 0))
