"""The network of a conditional field: its code, its size, the mean over views."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from nearfar.scenes.resnet_fc import ResnetFC, frequency_code


def test_golden_code(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "smcl" / "golden.json").read_text())["posenc"]
    x = torch.tensor(golden["x"], dtype=torch.float64)
    expected = torch.tensor(golden["view_synth_freq_major"]["out"], dtype=torch.float64)
    assert torch.allclose(frequency_code(x, 6), expected, atol=1e-9)


def test_published_size() -> None:
    assert sum(p.numel() for p in ResnetFC(42, 128, 512, 5, 3).parameters()) == 2_848_772


def test_views_are_averaged_behind_the_conditioned_blocks() -> None:
    network = ResnetFC(5, 4, 8, 3, 2).double()
    for block in network.blocks:
        torch.nn.init.normal_(block.second.weight, std=0.3)
    x, z = torch.randn(2, 1, 6, 5).double(), torch.randn(2, 3, 1, 4).double()
    parts = []
    for view in range(3):
        h = network.enter(x[:, 0])
        for read, block in zip(network.read, network.blocks, strict=False):
            h = block(h + read(z[:, view]))
        parts.append(h)
    expected = network.leave(torch.relu(network.blocks[2](torch.stack(parts).mean(dim=0))))
    assert torch.allclose(network(x, z), expected)
    assert torch.allclose(network(x, z[:, [2, 0, 1]]), expected)


def test_conditioning_every_block_averages_at_the_end() -> None:
    network = ResnetFC(5, 4, 8, 2, 2).double()
    x, z = torch.randn(2, 1, 6, 5).double(), torch.randn(2, 1, 1, 4).double()
    assert network(x, z).shape == (2, 6, 4)
    assert torch.allclose(network(x, z.expand(-1, 3, -1, -1)), network(x, z))


def test_blocks_start_as_the_identity() -> None:
    network = ResnetFC(5, 4, 8, 2, 1)
    h = torch.randn(3, 8)
    assert torch.equal(network.blocks[0](h), h)
