"""The queue against a plain list; the teacher against its recurrence; both through state_dict."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nearfar.errors import ConfigError, ShapeError
from nearfar.memory import EMA, Queue, cosine_momentum


def rows(start: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(start, start + n)
    return labels[:, None].float().expand(-1, 2), labels


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 7), batches=st.lists(st.integers(0, 17), max_size=6))
def test_queue_keeps_the_newest_rows(size: int, batches: list[int]) -> None:
    queue, expected, start = Queue(2, size), deque[int](maxlen=size), 0
    for n in batches:
        queue.enqueue(*rows(start, n))
        expected.extend(range(start, start + n))
        start += n
    keys, labels = queue.contents()
    assert sorted(labels.tolist()) == list(expected)
    assert torch.equal(keys[:, 0], labels.float()) and int(queue.count) == len(expected)
    assert int(queue.pointer) == start % size


def test_a_large_batch_equals_one_row_at_a_time() -> None:
    at_once, singly = Queue(2, 4), Queue(2, 4)
    keys, labels = rows(0, 11)
    at_once.enqueue(keys, labels)
    for i in range(11):
        singly.enqueue(keys[i : i + 1], labels[i : i + 1])
    assert all(torch.equal(a, b) for a, b in zip(at_once.buffers(), singly.buffers(), strict=True))


def test_queue_goes_on_after_a_restart() -> None:
    queue, resumed = Queue(2, 5), Queue(2, 5)
    queue.enqueue(*rows(0, 7))
    resumed.load_state_dict(queue.state_dict())
    for q in (queue, resumed):
        q.enqueue(*rows(7, 2))
    assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), resumed.buffers(), strict=True))


def test_contents_have_no_graph_and_survive_the_next_batch() -> None:
    queue = Queue(2, 3)
    queue.enqueue(torch.randn(3, 2, requires_grad=True, dtype=torch.float64).half())
    keys, labels = queue.contents()
    kept = keys.clone()
    queue.enqueue(torch.randn(2, 2))
    assert not keys.requires_grad and keys.dtype == torch.float32 and torch.equal(keys, kept)
    assert labels.tolist() == [-1, -1, -1]


def test_queue_refuses_what_does_not_fit() -> None:
    queue = Queue(2, 3)
    with pytest.raises(ShapeError, match=r"\(4, 5\).*\(3, 2\)"):
        queue.enqueue(torch.randn(4, 5))
    with pytest.raises(ShapeError, match=r"\(3,\).*\(4, 2\)"):
        queue.enqueue(torch.randn(4, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ConfigError, match="size 0"):
        Queue(2, 0)


def student() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_teacher_follows_the_recurrence_and_copies_buffers() -> None:
    module = student()
    teacher = EMA(module, momentum=0.9)
    expected = [p.detach().clone() for p in module.parameters()]
    for _ in range(3):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn_like(p))
        module(torch.randn(8, 3))
        teacher.update(module)
        expected = [0.9 * e + 0.1 * p.detach() for e, p in zip(expected, module.parameters(), strict=True)]
    torch.testing.assert_close(list(teacher.module.parameters()), expected)
    assert torch.equal(teacher.module[1].running_mean, module[1].running_mean)
    assert int(teacher.module[1].num_batches_tracked) == 3


def test_teacher_has_no_gradient_and_leaves_the_student_alone() -> None:
    module = student()
    teacher = EMA(module)
    out = teacher(torch.randn(5, 3, requires_grad=True))
    assert not out.requires_grad and not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in module.parameters())
    assert not any(a is b for a, b in zip(module.parameters(), teacher.parameters(), strict=True))


def test_teacher_is_saved() -> None:
    teacher, other = EMA(student()), EMA(student())
    other.load_state_dict(teacher.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), other.parameters(), strict=True))


def test_scheduled_momentum() -> None:
    schedule = cosine_momentum(0.9)
    assert [schedule(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.95, 1.0])
    module = nn.Linear(1, 1, bias=False)
    teacher = EMA(module, schedule)
    nn.init.zeros_(teacher.module.weight)
    nn.init.ones_(module.weight)
    teacher.update(module, progress=0.5)
    assert teacher.module.weight.item() == pytest.approx(0.05)
    teacher.update(module, progress=1.0)
    assert teacher.module.weight.item() == pytest.approx(0.05)


def test_teacher_refuses_another_architecture_and_a_wrong_momentum() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(4, 3\)"):
        EMA(nn.Linear(3, 4)).update(nn.Linear(3, 2))
    with pytest.raises(ConfigError, match=r"1\.5"):
        EMA(nn.Linear(3, 4), momentum=1.5)
