"""Batch norm with statistics per group for batches in which several groups are stacked."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from nearfar.errors import ConfigError, ShapeError

Running = Literal["shared", "separate"]
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GroupBatchNorm(_BatchNorm):
    """Batch norm of a batch of `groups` groups, rows sample-major: row b * groups + g is sample b's group g.

    In training each group is normalised by its own statistics, and the running ones are moved as `groups` successive
    passes would move them, so one pass over the stack equals the loop over the groups (`torch.nn.BatchNorm2d` on each).
    With G groups and momentum m the running mean becomes (1-m)^G r + sum over g of m (1-m)^(G-1-g) mean_g.
    In evaluation the running statistics are used as they are, for any number of rows.

    With "separate" running statistics [groups * C] each group keeps its own, and evaluation, too, takes a stack: groups
    differ far more from each other than batches do, and the shared ones fit none of them.

    Input [B * groups, C, ...]; raises ShapeError where the rows are no multiple of `groups`.
    """

    groups: int = 1
    separate: bool = False

    @classmethod
    def like(cls, norm: _BatchNorm, groups: int, running: Running = "shared") -> GroupBatchNorm:
        """The same parameters and buffers, not copies (but the running statistics where they become separate)."""
        made = cls(norm.num_features, norm.eps, norm.momentum, affine=False, track_running_stats=False)
        made.affine, made.track_running_stats = norm.affine, norm.track_running_stats
        made.weight, made.bias = norm.weight, norm.bias
        made.running_mean, made.running_var = norm.running_mean, norm.running_var
        made.num_batches_tracked = norm.num_batches_tracked
        made.groups, made.separate = groups, running == "separate" and norm.running_mean is not None
        if made.separate:
            made.running_mean, made.running_var = made._repeated(norm.running_mean), made._repeated(norm.running_var)
        return made.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """[B * groups, C, ...] -> the same shape."""
        if not self.training and self.running_mean is not None and not self.separate:
            return super().forward(x)
        if len(x) % self.groups:
            raise ShapeError(
                "the rows are no stack of groups", where="GroupBatchNorm", found=tuple(x.shape), expected=self._rows()
            )
        # Channels of different groups side by side: one kernel then takes all statistics.
        wide = x.reshape(len(x) // self.groups, self.groups * x.shape[1], *x.shape[2:])
        out = self._separate(wide) if self.separate else self._shared(wide)
        # Not as a view of `out`: the in-place ReLU that follows would copy the whole gradient twice for a view.
        return cast(Tensor, torch.ops.aten._unsafe_view.default(out, x.shape))

    def _shared(self, wide: Tensor) -> Tensor:
        mean, var = self._fresh(self.running_mean), self._fresh(self.running_var)
        weight, bias = self._repeated(self.weight), self._repeated(self.bias)
        # Momentum 1 leaves the batch's own statistics in the buffers.
        out = F.batch_norm(wide, mean, var, weight, bias, training=True, momentum=1.0, eps=self.eps)
        if mean is not None and var is not None and self.training:
            self._fold(mean, var)
        return out

    def _separate(self, wide: Tensor) -> Tensor:
        momentum = self.momentum
        if self.training:
            tracked = cast(Tensor, self.num_batches_tracked).add_(1)
            momentum = 1 / float(tracked) if momentum is None else momentum
        return F.batch_norm(
            wide,
            self.running_mean,
            self.running_var,
            self._repeated(self.weight),
            self._repeated(self.bias),
            training=self.training,
            momentum=momentum or 0.0,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        """What print shows."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, groups={self.groups}"

    def _rows(self) -> str:
        return f"a multiple of {self.groups} rows"

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two: one class stands for the 1d, 2d and 3d norms."""

    def _repeated(self, values: Tensor | None) -> Tensor | None:
        return None if values is None else values.repeat(self.groups)

    def _fresh(self, running: Tensor | None) -> Tensor | None:
        return None if running is None else torch.zeros_like(running).repeat(self.groups)

    @torch.no_grad()
    def _fold(self, mean: Tensor, var: Tensor) -> None:
        running_mean, running_var = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        tracked = cast(Tensor, self.num_batches_tracked)
        steps = torch.arange(self.groups, device=mean.device)
        if self.momentum is None:  # the plain average over all passes so far
            moves = 1 / (tracked + 1 + steps).to(mean.dtype)
        else:
            moves = torch.full_like(steps, self.momentum, dtype=mean.dtype)
        keeps = (1 - moves).flip(0).cumprod(0)  # keeps[g]: what the last g + 1 passes leave of what came before them
        shares = moves * torch.cat([keeps.new_ones(1), keeps[:-1]]).flip(0)
        for running, batch in ((running_mean, mean), (running_var, var)):
            running.mul_(keeps[-1]).add_(shares @ batch.view(self.groups, -1))
        tracked.add_(self.groups)


def per_group_statistics(module: nn.Module, groups: int, running: Running = "shared") -> nn.Module:
    """Replace the batch norms of `module`, in place, by `GroupBatchNorm` of the same names, parameters and buffers.

    Returns the module, or its replacement where it is a batch norm itself. Raises ConfigError for norms with more in
    them (synchronised ones, timm's with an activation), whose meaning the replacement would change.
    """
    if isinstance(module, _BatchNorm):
        if type(module) is GroupBatchNorm and not module.separate and running == "shared":
            module.groups = groups
            return module
        if type(module) not in PLAIN:
            raise ConfigError(
                f"{type(module).__name__} has no form with statistics per group",
                expected=" or ".join(kind.__name__ for kind in PLAIN),
                fix="Use a network with plain batch norms such as resnet18, or group_norm=False.",
            )
        return GroupBatchNorm.like(module, groups, running)
    for name, child in module.named_children():
        replaced = per_group_statistics(child, groups, running)
        if replaced is not child:
            setattr(module, name, replaced)
    return module
