"""Group attraction: what one image shows in different groups of bands belongs together (SACo, Stival et al. 2025)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ShapeError
from nearfar.losses._common import anchor_mean, embeddings, full_precision, inverse, masked_lse, one_of, softplus

GroupForm = Literal["attract", "simclr", "reference_margin"]


@full_precision
def group_attraction(
    z: Tensor, *, form: GroupForm = "attract", temperature: float = 0.5, detach_mean: bool = False
) -> Tensor:
    """Pull the embeddings of the groups z [B, G, D] of each sample to their mean; raw, of any scale.

    With q_b = m_b / |m_b|, m_b the mean over g of the raw z_bg, the form names one of

    - "attract": mean over b, g of 1 - cos(z_bg, q_b); half the squared distance on the unit sphere. What the figure of
      the paper shows.
    - "simclr": NT-Xent (Chen et al. 2020, eq. 1) between z_bg and q_b for each g, mean over g: the other samples'
      groups g and means push away. Only this form has a temperature. A batch of one has nothing to push, and loss 0.
    - "reference_margin": mean over b, g of (1 - |z_bg - q_b + 1e-6|)^2, z_bg raw: what the published code computes.
      It costs 1 where all groups agree and nothing at distance 1 in any direction, so it does not attract, and it
      depends on the scale of z. For comparison alone.

    detach_mean: no gradient through q, so groups move to the mean and it does not move to them.
    Over ranks the mean over b is the world's. Raises ShapeError unless z is [B, G, D], ConfigError for an unknown form
    or a temperature that is not positive.
    """
    one_of("form", form, get_args(GroupForm))
    scale = inverse(temperature)
    if z.dim() != 3 or z.shape[1] == 0:
        raise ShapeError("embeddings of groups", found=tuple(z.shape), expected="[B, G, D] with one group or more")
    raw = embeddings(z, normalize=False)
    mean = embeddings(raw.mean(1), normalize=True)
    if detach_mean:
        mean = mean.detach()
    if form == "reference_margin":
        losses = (1 - (raw - mean[:, None] + 1e-6).norm(dim=2)).square().mean(1)
    else:
        unit = embeddings(raw, normalize=True)
        losses = _contrast(unit, mean, scale) if form == "simclr" else 1 - (unit * mean[:, None]).sum(2).mean(1)
    return anchor_mean(losses, torch.ones_like(losses, dtype=torch.bool), f"group attraction ({form})")


def _contrast(unit: Tensor, mean: Tensor, scale: float) -> Tensor:
    """[B]: NT-Xent of both directions between unit [B, G, D] and mean [B, D], mean over the groups."""
    b, groups = unit.shape[:2]
    counts = parallel.sizes(b)
    pairs = torch.stack([unit, mean[:, None].expand_as(unit)], 1)  # [B, 2, G, D]: rows of two views, group by group
    rows = pairs.permute(2, 1, 0, 3)
    columns = parallel.gather(pairs, counts).permute(2, 1, 0, 3)
    world = columns.shape[2]
    s = torch.einsum("gvbd,gwmd->gvbwm", rows, columns) * scale
    own = (torch.arange(b, device=s.device) + parallel.offset(b, counts))[:, None] == torch.arange(
        world, device=s.device
    )
    # Both views of the own sample are no negatives: one is the anchor, the other its positive.
    negative = ~own[None, None, :, None].expand(s.shape)
    positive = (unit * mean[:, None]).sum(2).T[:, None] * scale
    rivals = masked_lse(s.flatten(3).flatten(0, 2), negative.flatten(3).flatten(0, 2)).view(groups, 2, b)
    return softplus(rivals - positive).mean((0, 1))


class GroupAttraction(nn.Module):
    """Module twin of `group_attraction`."""

    def __init__(self, *, form: GroupForm = "attract", temperature: float = 0.5, detach_mean: bool = False) -> None:
        super().__init__()
        self.form, self.temperature, self.detach_mean = form, temperature, detach_mean

    def forward(self, z: Tensor) -> Tensor:
        """See `group_attraction`."""
        return group_attraction(z, form=self.form, temperature=self.temperature, detach_mean=self.detach_mean)
