# SPDX-License-Identifier: Apache-2.0
"""The viewpoint prior in training: what the whole crop says of the object's rotation.

A context vector is read off the coarse maps, and each category reads from it the log
probabilities of azimuth, elevation and in-plane rotation in bins. Render-and-compare asks each
visible part where it belongs; this asks what the picture as a whole looks like. At run time the two
are added (nemo_model.viewpoint).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nemo_model.angles import ANGLES, AZIMUTH, SIGMA
from nemo_model.training.ranks import Ranks
from nemo_model.viewpoint import BINS

_COARSE, _MIDDLE = 64, 32
"""Channels taken from the maps at strides 32 and 16."""
SELDOM = 0.05
"""Share of an even count of an azimuth's bin below which training did not show it."""
REACH = 2
"""Bins by which gaps between shown views are closed from either side: 10 degrees."""
_GRID = (4, 6)
"""Rows and columns that the coarse map is brought to: it is flattened, not averaged, so that it is
not lost what is seen where in the crop."""


class Context(nn.Module):
    """Maps at strides 16 and 32 of any size to one vector (B, channels), not negative."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(320, _COARSE, 1)
        self.middle = nn.Conv2d(112, _MIDDLE, 3, stride=2, padding=1)
        self.hidden = nn.Linear(_GRID[0] * _GRID[1] * (_COARSE + _MIDDLE), channels)

    def forward(self, middle: Tensor, coarse: Tensor) -> Tensor:
        x = torch.cat([F.relu(self.coarse(coarse)), F.relu(self.middle(middle))], dim=1)
        x = F.interpolate(x, size=_GRID, mode="bilinear")
        return F.relu(self.hidden(x.flatten(1)))


class Readers(nn.Module):
    """What each category reads from the context: logits (B, BINS) of its angles.

    Attributes:
        count: (categories, bins of azimuth) how often training showed it from there.
    """

    count: Tensor

    def __init__(self, categories: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(categories, AZIMUTH.count))
        self.weight = nn.Parameter(torch.randn(categories, BINS, channels) * channels**-0.5)
        self.bias = nn.Parameter(torch.zeros(categories, BINS))

    def forward(self, context: Tensor, category: Tensor) -> Tensor:
        """context (B, channels), category (B,) int64."""
        weight, bias = self.weight[category], self.bias[category]
        return torch.baddbmm(bias[:, None], context[:, None], weight.transpose(1, 2))[:, 0]

    @torch.no_grad()
    def note(
        self, category: Tensor, angles: Tensor, symmetry: Tensor, ranks: Ranks | None = None
    ) -> None:
        """Count the azimuths of a batch, or of all processes' parts of one.

        Arguments as of `forward` and `viewpoint_loss`.
        """
        here = azimuths_apart(angles[:, :1], symmetry) <= AZIMUTH.width / 2
        seen = torch.zeros_like(self.count).index_add_(0, category, here.to(self.count))
        self.count += seen if ranks is None else ranks.sum(seen)


def shown(count: Tensor) -> Tensor:
    """Bins (K,) of azimuth from which training showed a category, which it did `count` (K,) times.

    Less than SELDOM of an even share is never. Gaps of up to 2 REACH bins between shown ones, which
    the soft labels and the blur at run time bridge, are none. All, where nothing was counted.
    """
    often = count >= SELDOM * count.mean()
    around = range(-REACH, REACH + 1)
    near = torch.stack([often.roll(k) for k in around]).any(dim=0)
    return torch.stack([near.roll(k) for k in around]).all(dim=0)


def azimuths_apart(azimuth: Tensor, symmetry: Tensor) -> Tensor:
    """Radians (B, K) from azimuths (B, 1) to every bin's centre, the least over symmetries (B,)."""
    off = (torch.from_numpy(AZIMUTH.centres).to(azimuth) - azimuth).abs()
    period = AZIMUTH.span / symmetry.clamp(min=1)[:, None]
    off = torch.minimum(off % period, period - off % period)
    return off * (symmetry > 0)[:, None]


def viewpoint_loss(logits: Tensor, angles: Tensor, symmetry: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy with soft labels, summed over the angles; and the share of modes near.

    Args:
        logits: (B, BINS).
        angles: (B, 3) radians, as angles_from_rotation gives them.
        symmetry: (B,) turns about z that leave each object as it is; see Card.
    """
    loss, right = logits.new_zeros(()), torch.ones_like(angles[:, 0], dtype=torch.bool)
    parts = logits.split([bins.count for bins in ANGLES], dim=1)
    for k, (found, bins) in enumerate(zip(parts, ANGLES, strict=True)):
        angle = angles[:, k : k + 1]
        off = (torch.from_numpy(bins.centres).to(angle) - angle).abs()
        if bins is AZIMUTH:
            off = azimuths_apart(angle, symmetry)
        elif bins.circular:
            off = torch.minimum(off % bins.span, bins.span - off % bins.span)
        label = torch.exp(-0.5 * (off / SIGMA) ** 2)
        loss = loss + F.cross_entropy(found, label / label.sum(dim=1, keepdim=True))
        right &= off.gather(1, found.argmax(1, keepdim=True))[:, 0] < 2.5 * bins.width
    return loss, right.float().mean().detach()
