"""The cache of frozen features: the same numbers, computed once, and dropped as soon as anything changed."""

import torch
from torch import Tensor, nn

from nearfar.methods.feature_cache import FeatureCache, checksum, is_frozen


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.calls = nn.Linear(6, 4), nn.BatchNorm1d(4), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(self.layer(x))  # type: ignore[no-any-return]


def frozen() -> Counted:
    torch.manual_seed(0)
    return Counted().eval().requires_grad_(False)


def ask(cache: FeatureCache, module: Counted, index: Tensor, x: Tensor) -> Tensor:
    batch = x[index]
    return cache(module, index, batch, lambda row: module(batch[row : row + 1]))


def alone(module: Counted, x: Tensor) -> Tensor:
    return torch.cat([module.norm(module.layer(row[None])) for row in x])


def test_every_sample_is_computed_once_and_the_numbers_are_the_same() -> None:
    cache, module, x = FeatureCache(), frozen(), torch.randn(50, 6)
    random = torch.Generator().manual_seed(1)
    for epoch in range(3):
        for index in torch.randperm(50, generator=random).split(10):
            assert torch.equal(ask(cache, module, index, x), alone(frozen(), x[index]))
        assert module.calls == 50 and len(cache) == 50, epoch


def test_a_changed_weight_or_buffer_drops_it() -> None:
    cache, module, x, index = FeatureCache(), frozen(), torch.randn(8, 6), torch.arange(8)
    ask(cache, module, index, x)
    changes = [
        lambda: module.layer.weight.add_(0.1),
        lambda: module.norm.running_mean.add_(1.0),  # type: ignore[union-attr,operator]
        lambda: module.load_state_dict(frozen().state_dict()),
        lambda: setattr(module.layer, "bias", nn.Parameter(torch.ones(4), requires_grad=False)),
    ]
    for number, change in enumerate(changes, 2):
        change()
        for _ in range(2):
            assert torch.equal(ask(cache, module, index, x), alone(module, x)) and module.calls == 8 * number


def test_another_input_under_the_same_index_is_computed() -> None:
    cache, module, index = FeatureCache(), frozen(), torch.arange(8)
    x, other = torch.randn(8, 6), torch.randn(8, 6)
    ask(cache, module, index, x)
    mixed = torch.cat([x[:6], other[6:]])
    assert torch.equal(ask(cache, module, index, mixed), alone(frozen(), mixed)) and module.calls == 10
    assert torch.equal(ask(cache, module, index, x.flip(1)), alone(frozen(), x.flip(1))) and module.calls == 18


def test_another_precision_is_another_feature() -> None:
    cache, module, x, index = FeatureCache(), frozen(), torch.randn(8, 6), torch.arange(8)
    whole = ask(cache, module, index, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(ask(cache, module, index, x).float(), whole)
    assert torch.equal(ask(cache, module, index, x), whole)


def test_only_what_cannot_change_is_frozen() -> None:
    module = frozen()
    assert is_frozen(module)
    assert not is_frozen(frozen().train())
    module.norm.train()
    assert not is_frozen(module)
    other = frozen()
    other.layer.bias.requires_grad_(True)
    assert not is_frozen(other)


def test_the_checksum_tells_bits_and_places_and_not_the_batch() -> None:
    x = torch.randn(5, 3, 7)
    assert torch.equal(checksum(x)[2:4], checksum(x[2:4]))
    ids = torch.randint(1, 99, (5, 7))
    assert torch.equal(checksum(ids), checksum(torch.cat([ids, torch.zeros(5, 3, dtype=torch.int64)], 1)))
    turned, changed = x.flip(-1), x.clone()
    changed[4, 2, 6] = torch.nextafter(changed[4, 2, 6], torch.tensor(9.0))
    assert (checksum(turned) != checksum(x)).all()
    assert (checksum(changed) != checksum(x)).tolist() == [False] * 4 + [True]
    for kind in (torch.float64, torch.int64, torch.bfloat16):
        assert checksum(x.to(kind)).shape == (5,)
