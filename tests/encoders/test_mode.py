"""Evaluation mode for a while."""

import pytest
from torch import nn

from nearfar.encoders.mode import evaluating


def test_each_part_returns_to_its_own_mode_even_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout())).train()
    module[1].eval()
    with pytest.raises(ValueError, match="inside"), evaluating(module):
        assert not any(part.training for part in module.modules())
        raise ValueError("inside")
    assert [part.training for part in module.modules()] == [True, True, False, False]
