"""What the principled form promises, and the options of the published ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.errors import ConfigError, NearfarError
from nearfar.losses import EvidentialLoss, evidential
from nearfar.losses.evidential import pair_opinions

EVIDENCES = ["hinge", "softplus", "log_likelihood_ratio", "neighbourhood", "reference", "exp_tanh"]


def batch(seed: int = 0, n: int = 12, classes: int = 3, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    ids = torch.arange(n // 2).repeat_interleave(2)
    labels = ids % classes
    centres = torch.randn(classes, 8, generator=source, dtype=torch.float64)
    z = centres[labels] + spread * torch.randn(n, 8, generator=source, dtype=torch.float64)
    return z, labels, ids


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.floats(0.1, 3.0), gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_every_negative_is_pushed_away(seed: int, spread: float, gamma: float) -> None:
    """One image, many negatives: a key's gradient is d loss / d s times the anchor, so it has the force's sign."""
    z, _, _ = batch(seed, spread=spread)
    unit = torch.nn.functional.normalize(z[:1], dim=1).expand(2, -1)
    keys = torch.nn.functional.normalize(z, dim=1).requires_grad_()
    y, one = torch.zeros(2, dtype=torch.int64), torch.ones(len(z), dtype=torch.int64)
    loss = evidential(unit, y, y, keys=keys, key_labels=one, gamma=gamma, normalize=False)
    (gradient,) = torch.autograd.grad(loss, keys)
    assert (gradient @ unit[0] >= 0).all() and (gradient @ unit[0]).sum() > 0


def test_negatives_alone_have_a_repulsive_force() -> None:
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    for angle in torch.linspace(0.1, 3.1, 12):
        key = torch.tensor([[angle.cos(), angle.sin()]], dtype=torch.float64).requires_grad_()
        ids, y = torch.tensor([0, 0]), torch.tensor([0, 0])
        loss = evidential(z, y, ids, keys=key, key_labels=torch.tensor([1]), margin=0.5, normalize=False)
        (gradient,) = torch.autograd.grad(loss, key)
        assert gradient[0, 0] > 0  # descending moves the key away from the anchors


def test_reference_attracts_negatives_and_without_self_it_does_not() -> None:
    """The published defect: the anchor is its own negative."""
    z, y, ids = batch(3, n=32, classes=2, spread=50.0)
    forces = {}
    for own in (True, False):
        leaf = torch.nn.functional.normalize(z, dim=1).requires_grad_()
        value = evidential(leaf, y, ids, mode="reference", self_is_negative=own, detach_beta=True, normalize=False)
        value.backward()
        cross = torch.where(y[:, None] != y[None], leaf.detach() @ leaf.grad.T, 0.0)
        forces[own] = float(cross.sum())
    assert forces[False] > 10 * abs(forces[True])


def test_without_weights_and_gamma_it_is_decoupled_supcon() -> None:
    z, y, ids = batch(1)
    s = torch.nn.functional.normalize(z, dim=1)
    s = s @ s.T / 0.1
    same = y[:, None] == y[None]
    losses = []
    for i in range(len(y)):
        rivals = s[i][~same[i]].logsumexp(0)
        losses.append(
            torch.stack(
                [
                    torch.nn.functional.softplus(rivals - s[i, j], threshold=50.0)
                    for j in range(len(y))
                    if same[i, j] and i != j
                ]
            ).mean()
        )
    assert float(evidential(z, y, ids, evidence=None, gamma=0.0)) == pytest.approx(
        float(torch.stack(losses).mean()), rel=1e-12
    )


@pytest.mark.parametrize("evidence", EVIDENCES)
def test_weights_and_beta_carry_no_gradient(evidence: str) -> None:
    """The gradient equals that of the formula with weights and beta frozen."""
    z, y, ids = batch(2)
    leaf = z.clone().requires_grad_()
    value = evidential(leaf, y, ids, evidence=evidence, progress=0.4)
    opinion, masks = pair_opinions(z, y, ids, evidence=evidence, progress=0.4)
    w = torch.where(masks.strong, 1.0, opinion.projected()) * masks.positive
    other = z.clone().requires_grad_()
    unit = torch.nn.functional.normalize(other, dim=1)
    s = unit @ unit.T / 0.1
    beta = s.detach().masked_fill(~masks.negative, -torch.inf).softmax(1)
    log_m = masks.negative.sum(1).double().log() + (beta * s.exp()).sum(1).log()
    pairs = torch.nn.functional.softplus(log_m[:, None] - s, threshold=50.0)
    frozen = ((w * pairs).sum(1) / w.sum(1)).mean()
    assert float(value.detach()) == pytest.approx(float(frozen.detach()), rel=1e-10)
    expected, got = torch.autograd.grad(frozen, other)[0], torch.autograd.grad(value, leaf)[0]
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_the_curriculum_goes_from_belief_to_plausibility() -> None:
    """Vectors of the specification: cosine .8, margin .5, kappa 10, W 2."""
    z = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
    y = torch.tensor([0, 0])
    for a, expected in ((0.0, 0.75), (0.5, 0.875), (1.0, 1.0)):
        opinion, _ = pair_opinions(z, y, margin=0.5, progress=a)
        assert float(opinion.projected()[0, 1]) == pytest.approx(expected, abs=1e-9)


def test_class_balanced_mean_gives_small_classes_their_share() -> None:
    z, _, _ = batch(4, n=12)
    y = torch.tensor([0] * 8 + [1] * 4)
    options = {"evidence": None, "class_balanced": True}
    both = evidential(z, y, torch.arange(12), **options)
    plain = evidential(z, y, torch.arange(12), evidence=None)
    assert float(both) != pytest.approx(float(plain), rel=1e-6)


@pytest.mark.parametrize("matches", ["all", "best"])
def test_patches_share_the_opinion_of_their_images(matches: str) -> None:
    z = torch.randn(4, 3, 8, dtype=torch.float64).requires_grad_()
    y = torch.tensor([0, 0, 1, 1])
    opinion, _ = pair_opinions(z.detach(), y, evidence="patches", matches=matches)
    blocks = opinion.u.view(4, 3, 4, 3)
    assert torch.equal(blocks, blocks[:, :1, :, :1].expand_as(blocks))
    evidential(z, y, evidence="patches", matches=matches, progress=0.5).backward()
    assert z.grad is not None and z.grad.isfinite().all() and z.grad.abs().sum() > 0


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import nearfar.losses.evidential_principled as principled

    z, y, ids = batch(5, n=24)
    whole = evidential(z, y, ids, progress=0.5)
    monkeypatch.setattr(principled, "block_rows", lambda *_: 5)
    assert float(evidential(z, y, ids, progress=0.5)) == pytest.approx(float(whole), rel=1e-13)


def test_running_statistics_move_and_are_saved() -> None:
    loss = EvidentialLoss(momentum=0.9)
    assert loss.moments.isnan().all()
    loss(*batch(0))
    first = loss.moments.clone()
    loss(*batch(1))
    assert first.isfinite().all() and not torch.equal(first, loss.moments)
    frozen = loss.eval().moments.clone()
    loss(*batch(2))
    assert torch.equal(frozen, loss.moments) and "moments" in loss.state_dict()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "principle"}, "Did you mean 'principled'"),
        ({"evidence": "hing"}, "Did you mean hinge"),
        ({"margin": 1.5}, "1.5"),
        ({"kapa": 3}, "Did you mean 'kappa'"),
        ({"mode": "reference", "kappa": 3}, "reference"),
        ({"mode": "later", "variant": "ful"}, "Did you mean 'full'"),
        ({"progress": 1.5}, "1.5"),
        ({"gamma": -1.0}, "-1.0"),
        ({"curriculum": "liner"}, "linear"),
        ({"evidence": "patches"}, "patches"),
        ({"kappa": 0.0}, "kappa"),
        ({"mode": "reference", "eps": 2.0}, "eps"),
    ],
)
def test_wrong_use_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(NearfarError, match=words):
        evidential(*batch(), **options)
    with pytest.raises(ConfigError):
        EvidentialLoss(momentum=1.0)
