"""Batch norm with statistics per group against torch's own, group after group."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nearfar.encoders.group_batchnorm import GroupBatchNorm, per_group_statistics
from nearfar.errors import ConfigError, ShapeError


def pair(norm: nn.Module, groups: int) -> tuple[nn.Module, nn.Module]:
    """A norm in float64 with running statistics and weights of its own, and its form per group."""
    norm = norm.double()
    for tensor in [*norm.parameters(), *(b for b in norm.buffers() if b.is_floating_point())]:
        tensor.data.uniform_(0.5, 1.5)
    return norm, per_group_statistics(copy.deepcopy(norm), groups)


def loop(norm: nn.Module, x: Tensor, groups: int) -> Tensor:
    """[groups * B, ...], one pass a group."""
    return torch.cat([norm(part) for part in x.chunk(groups)])


def assert_same_state(a: nn.Module, b: nn.Module) -> None:
    torch.testing.assert_close(dict(a.state_dict()), dict(b.state_dict()), rtol=1e-13, atol=1e-15)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5), st.integers(2, 4), st.sampled_from([0.0, 0.1, 0.9, 1.0, None]), st.booleans(), st.integers(0, 99)
)
def test_one_call_equals_the_loop(groups: int, batch: int, momentum: float | None, affine: bool, seed: int) -> None:
    torch.manual_seed(seed)
    one, many = pair(nn.BatchNorm2d(3, momentum=momentum, affine=affine), groups)
    for _ in range(2):  # the second starts from moved statistics
        x = torch.randn(batch * groups, 3, 4, 5, dtype=torch.float64) * 2 + 1
        torch.testing.assert_close(many(x), loop(one, x, groups), rtol=1e-13, atol=1e-13)
        assert_same_state(many, one)
    torch.testing.assert_close(many.eval()(x), one.eval()(x), rtol=1e-13, atol=1e-13)
    assert_same_state(many, one)


@pytest.mark.parametrize("shape", [(3,), (3, 7), (3, 2, 2, 2)], ids=["rows", "1d", "3d"])
def test_other_dimensions(shape: tuple[int, ...]) -> None:
    kind = nn.BatchNorm3d if len(shape) == 4 else nn.BatchNorm1d
    one, many = pair(kind(3), 2)
    x = torch.randn(10, *shape, dtype=torch.float64)
    torch.testing.assert_close(many(x), loop(one, x, 2), rtol=1e-13, atol=1e-13)
    assert_same_state(many, one)


def test_without_running_statistics_each_group_keeps_its_own_in_evaluation_too() -> None:
    one, many = pair(nn.BatchNorm2d(3, track_running_stats=False).eval(), 2)
    x = torch.randn(6, 3, 2, 2, dtype=torch.float64)
    assert not many.training
    torch.testing.assert_close(many(x), loop(one, x, 2), rtol=1e-13, atol=1e-13)


def test_mixed_statistics_would_differ() -> None:
    one, many = pair(nn.BatchNorm2d(3), 2)
    x = torch.randn(8, 3, 2, 2, dtype=torch.float64) * torch.tensor([1.0, 9.0]).repeat_interleave(4).view(-1, 1, 1, 1)
    assert (many(x) - one(x)).abs().max() > 0.5


def test_a_network_keeps_its_state_dict_and_parameters() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    names, parameters = list(network.state_dict()), list(network.parameters())
    assert per_group_statistics(network, 3) is network
    assert list(network.state_dict()) == names
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    assert [m.groups for m in network.modules() if isinstance(m, GroupBatchNorm)] == [3, 3]
    assert "groups=3" in repr(network)


def test_replacing_twice_changes_the_number_of_groups() -> None:
    norm = per_group_statistics(nn.BatchNorm2d(4), 3)
    assert per_group_statistics(norm, 5) is norm and norm.groups == 5


def test_rows_that_are_no_stack_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(7, 3, 2, 2\).*multiple of 2"):
        per_group_statistics(nn.BatchNorm2d(3), 2)(torch.zeros(7, 3, 2, 2))


def test_a_norm_with_more_in_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SyncBatchNorm.*BatchNorm2d"):
        per_group_statistics(nn.Sequential(nn.SyncBatchNorm(3)), 2)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_separate_statistics_are_those_of_a_norm_a_group(momentum: float | None) -> None:
    torch.manual_seed(0)
    one, _ = pair(nn.BatchNorm2d(3, momentum=momentum), 4)
    norms, many = [copy.deepcopy(one) for _ in range(4)], per_group_statistics(copy.deepcopy(one), 4, "separate")
    for training in (True, True, False):
        x = torch.randn(4, 2, 3, 5, 5, dtype=torch.float64) * torch.arange(1, 5)[:, None, None, None, None]
        many.train(training)
        expected = torch.stack([norm.train(training)(part) for part, norm in zip(x, norms, strict=True)])
        torch.testing.assert_close(many(x.flatten(0, 1)), expected.flatten(0, 1), rtol=1e-13, atol=1e-13)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(many, name), torch.cat([getattr(norm, name) for norm in norms]))
    with pytest.raises(ShapeError, match="no stack of groups"):
        many(torch.randn(6, 3, 5, 5, dtype=torch.float64))


def test_the_memory_format_is_kept() -> None:
    norm = per_group_statistics(nn.BatchNorm2d(3), 2)
    x = torch.randn(4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    out = norm(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, norm(x.contiguous()))
