"""The learning rate as a function of the step."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.train.schedule import cosine, published


def test_published_equals_the_golden_schedules(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "disco" / "schedule.json").read_text())
    floor = golden["min_lr"]
    for case in golden["schedules"]:
        for epoch, (head, backbone) in enumerate(case["lr"]):
            for peak, expected in ((golden["head_lr"], head), (golden["backbone_lr"], backbone)):
                found = published(epoch, case["max_epochs"], case["warmup"], peak, floor)
                assert found == pytest.approx(float(expected), rel=1e-9), (case["warmup"], epoch)


def test_cosine_by_hand() -> None:
    rates = [cosine(step, 7, 2, peak=1.0, floor=0.2) for step in range(7)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.8828427, 0.6, 0.3171573, 0.2])


@given(st.integers(1, 300), st.floats(0, 0.99), st.floats(0, 1))
def test_cosine_stays_between_floor_and_peak_and_never_rises_after_warmup(
    total: int, warmup_share: float, floor: float
) -> None:
    warmup = round(warmup_share * total)
    rates = [cosine(step, total, warmup, 1.0, floor) for step in range(total)]
    assert all(0 < rate <= 1 + 1e-12 for rate in rates[:warmup])
    after = rates[warmup:]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(after))
    assert all(floor - 1e-12 <= rate for rate in after)
