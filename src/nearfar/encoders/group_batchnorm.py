"""Batch norm with statistics per group for batches in which several groups are stacked."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from nearfar.errors import ConfigError, ShapeError

Running = Literal["shared", "separate"]
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GroupBatchNorm(_BatchNorm):
    """Batch norm of a batch of `groups` groups, rows group-major: the first B rows are the B samples' first group.

    In training each group is normalised by its own statistics, and the running ones are moved as `groups` successive
    passes would move them, so one pass over the stack equals the loop over the groups (`torch.nn.BatchNorm2d` on each).
    In evaluation the running statistics are used as they are, for any number of rows.

    With "separate" running statistics [groups * C] each group keeps its own, and evaluation, too, takes a stack: groups
    differ far more from each other than batches do, and the shared ones fit none of them.

    Input [groups * B, C, ...]; raises ShapeError where the rows are no multiple of `groups`.
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
        made.groups = groups
        if running == "separate" and norm.running_mean is not None and norm.running_var is not None:
            made.separate = True
            made.running_mean, made.running_var = norm.running_mean.repeat(groups), norm.running_var.repeat(groups)
        return made.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """[groups * B, C, ...] -> the same shape."""
        if not self.training and self.running_mean is not None and not self.separate:
            return super().forward(x)
        if len(x) % self.groups:
            raise ShapeError(
                "the rows are no stack of groups", where="GroupBatchNorm", found=tuple(x.shape), expected=self._rows()
            )
        # A group's rows are a contiguous part in any memory format, so nothing is copied before its norm.
        return torch.cat([self._normed(part, group) for group, part in enumerate(x.chunk(self.groups))])

    def _normed(self, x: Tensor, group: int) -> Tensor:
        mean, var = self.running_mean, self.running_var
        if self.separate and mean is not None and var is not None:
            own = slice(group * self.num_features, (group + 1) * self.num_features)
            mean, var = mean[own], var[own]
        use_batch = self.training or mean is None
        return F.batch_norm(x, mean, var, self.weight, self.bias, use_batch, self._momentum(group), self.eps)

    def _momentum(self, group: int) -> float:
        if not self.training or self.num_batches_tracked is None:
            return 0.0
        if group == 0 or not self.separate:
            self.num_batches_tracked.add_(1)
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        """What print shows."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, groups={self.groups}"

    def _rows(self) -> str:
        return f"a multiple of {self.groups} rows"

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two: one class stands for the 1d, 2d and 3d norms."""


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
