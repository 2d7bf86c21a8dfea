"""Binomial opinions of Subjective Logic: what is believed, what is disbelieved, and what is not known.

An opinion (b, d, u, a) has b + d + u = 1, a base rate a, and with the non-informative prior weight W it is the same
thing as an amount of evidence (r for, s against) and as a Beta distribution of the probability p:

    b = r / (r + s + W)    d = s / (r + s + W)    u = W / (r + s + W)
    alpha = r + a W        beta = s + (1 - a) W   E[p] = b + a u

Source: A. Josang, "Subjective Logic", Springer 2016, chapters 3 (opinions, Beta) and 12 (cumulative fusion);
dissonance: Josang, Cho, Chen, "Uncertainty Characteristics of Subjective Opinions", FUSION 2018.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError

Value = Tensor | float


def _tensors(**values: Value) -> list[Tensor]:
    """All values as tensors of one shape and one floating dtype."""
    floats = [value.dtype for value in values.values() if isinstance(value, Tensor) and value.is_floating_point()]
    dtype = functools.reduce(torch.promote_types, floats) if floats else torch.get_default_dtype()
    device = next((value.device for value in values.values() if isinstance(value, Tensor)), None)
    # A Python float must not pass through float32 on its way to float64.
    tensors = [torch.as_tensor(value, dtype=dtype, device=device) for value in values.values()]
    broadcast: Callable[..., tuple[Tensor, ...]] = torch.broadcast_tensors
    try:
        return [t.contiguous() for t in broadcast(*tensors)]
    except RuntimeError:
        shapes = {name: tuple(t.shape) for name, t in zip(values, tensors, strict=True)}
        raise ShapeError("parts of an opinion do not broadcast", found=shapes, expected="one shape") from None


def _require(holds: Tensor, name: str, value: Tensor, expected: str, fix: str | None = None) -> None:
    """Raise a ConfigError that shows the first value for which `holds` is false (NaN never holds)."""
    if not bool(holds.all()):
        at = int((~holds).flatten().nonzero()[0])
        place = (
            ""
            if value.dim() == 0
            else f" at {tuple(int(i) for i in torch.unravel_index(torch.tensor(at), value.shape))}"
        )
        found = f"{value.flatten()[at].item():.6g}{place}"
        raise ConfigError(f"{name} is not valid", where="opinion", found=found, expected=expected, fix=fix)


def _check_prior(a: Tensor, prior_weight: float) -> None:
    if not prior_weight > 0:
        raise ConfigError("the prior weight W is not valid", where="opinion", found=prior_weight, expected="W > 0")
    _require((a >= 0) & (a <= 1), "base rate a", a, "0 <= a <= 1")


def projected_probability(r: Tensor, s: Tensor, a: Value, prior_weight: float = 2.0) -> Tensor:
    """P = b + a u = (r + a W) / (r + s + W) straight from evidence, for losses; nothing is checked."""
    return (r + a * prior_weight).div_(r + s + prior_weight)


@dataclass(frozen=True)
class Opinion:
    """Binomial opinions, elementwise over tensors of one shape.

    The constructor checks nothing (losses build millions of opinions a step); `Opinion.of`, `from_evidence` and
    `from_beta` check, and raise a ConfigError that names the value.
    """

    b: Tensor
    """belief, 0 to 1: the lower probability"""
    d: Tensor
    """disbelief, 0 to 1"""
    u: Tensor
    """uncertainty (vacuity), 0 to 1; 0 is a dogmatic opinion"""
    a: Tensor
    """base rate, 0 to 1: the probability where nothing is known"""
    prior_weight: float = 2.0
    """W: how much evidence halves the uncertainty; 2 makes the empty opinion with a = 1/2 the uniform Beta(1, 1)"""

    @classmethod
    def of(cls, b: Value, d: Value, u: Value, a: Value = 0.5, *, prior_weight: float = 2.0) -> Opinion:
        """Checked construction: each part in 0..1, b + d + u = 1 (to 1e-5, or 1e-9 in float64)."""
        b, d, u, a = _tensors(b=b, d=d, u=u, a=a)
        _check_prior(a, prior_weight)
        for name, part in (("belief b", b), ("disbelief d", d), ("uncertainty u", u)):
            _require((part >= 0) & (part <= 1), name, part, "0 to 1")
        total = b + d + u
        tolerance = 1e-9 if total.dtype == torch.float64 else 1e-5
        _require((total - 1).abs() <= tolerance, "b + d + u", total, "1")
        return cls(b, d, u, a, prior_weight)

    @classmethod
    def from_evidence(
        cls, r: Value, s: Value, a: Value = 0.5, *, prior_weight: float = 2.0, check: bool = True
    ) -> Opinion:
        """Opinion from evidence r for and s against (pseudo-observations, both >= 0 and finite).

        `check=False` skips the validation and the broadcasting of `a`; for tensors known to be valid.
        """
        if check:
            r, s, a = _tensors(r=r, s=s, a=a)
            _check_prior(a, prior_weight)
            for name, part in (("evidence r", r), ("evidence s", s)):
                _require((part >= 0) & part.isfinite(), name, part, "finite and >= 0")
        r, s = torch.as_tensor(r), torch.as_tensor(s)
        total = r + s + prior_weight
        return cls(r / total, s / total, prior_weight / total, torch.as_tensor(a), prior_weight)

    def to_evidence(self) -> tuple[Tensor, Tensor]:
        """(r, s) = (W b / u, W d / u). Raises ConfigError for a dogmatic opinion: its evidence is infinite."""
        fix = "A dogmatic opinion is the limit of infinite evidence; give it a small u."
        _require(self.u > 0, "uncertainty u", self.u, "u > 0", fix)
        return self.prior_weight * self.b / self.u, self.prior_weight * self.d / self.u

    @classmethod
    def from_beta(cls, alpha: Value, beta: Value, a: Value = 0.5, *, prior_weight: float = 2.0) -> Opinion:
        """Opinion of Beta(alpha, beta). It exists only where alpha >= a W and beta >= (1 - a) W."""
        alpha, beta, a = _tensors(alpha=alpha, beta=beta, a=a)
        _check_prior(a, prior_weight)
        r, s = alpha - a * prior_weight, beta - (1 - a) * prior_weight
        slack = 8 * torch.finfo(r.dtype).eps * prior_weight
        fix = "No opinion with this base rate and prior weight maps to that Beta: change a, or lower W."
        for name, value, least, evidence in (
            ("alpha", alpha, a * prior_weight, r), ("beta", beta, (1 - a) * prior_weight, s)
        ):  # fmt: skip
            bound = f"finite and >= {least.min().item():.6g} ({'a W' if name == 'alpha' else '(1 - a) W'})"
            _require((evidence >= -slack) & value.isfinite(), name, value, bound, fix)
        return cls.from_evidence(r.clamp(min=0), s.clamp(min=0), a, prior_weight=prior_weight, check=False)

    def to_beta(self) -> tuple[Tensor, Tensor]:
        """(alpha, beta) of the Beta distribution of p. Raises ConfigError for a dogmatic opinion."""
        r, s = self.to_evidence()
        return r + self.a * self.prior_weight, s + (1 - self.a) * self.prior_weight

    @property
    def vacuity(self) -> Tensor:
        """u: the share of the opinion that is lack of evidence."""
        return self.u

    @property
    def dissonance(self) -> Tensor:
        """2 min(b, d): the share of the opinion that is conflicting evidence."""
        return 2 * torch.minimum(self.b, self.d)

    @property
    def plausibility(self) -> Tensor:
        """b + u = 1 - d: the upper probability."""
        return self.b + self.u

    def projected(self, a: Value | None = None) -> Tensor:
        """Projected probability P = b + a u = E[p], with the opinion's base rate or another one."""
        rate = self.a if a is None else torch.as_tensor(a, dtype=self.u.dtype, device=self.u.device)
        return self.b + rate * self.u

    def variance(self) -> Tensor:
        """Var[p] = P (1 - P) u / (W + u)."""
        p = self.projected()
        return p * (1 - p) * self.u / (self.prior_weight + self.u)

    def fuse(self, other: Opinion) -> Opinion:
        """Cumulative fusion of two independent sources: evidence adds. Raises where a or W differ, or u = 0."""
        if self.prior_weight != other.prior_weight:
            found = (self.prior_weight, other.prior_weight)
            raise ConfigError("opinions with different prior weights do not fuse", found=found, expected="one W")
        a, b = _tensors(a=self.a, b=other.a)
        _require(a == b, "base rate of the second opinion", b, f"that of the first ({a.flatten()[0].item():.6g})")
        (r, s), (r2, s2) = self.to_evidence(), other.to_evidence()
        return Opinion.from_evidence(r + r2, s + s2, self.a, prior_weight=self.prior_weight)

    def fused(self, dim: int) -> Opinion:
        """Cumulative fusion of all opinions along a dimension (which must share their base rate)."""
        r, s = self.to_evidence()
        a = self.a.expand_as(self.u)
        first = a.select(dim, 0)
        _require(a == first.unsqueeze(dim), "base rate", a, "one base rate along the fused dimension")
        return Opinion.from_evidence(r.sum(dim), s.sum(dim), first, prior_weight=self.prior_weight)
