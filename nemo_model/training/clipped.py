# SPDX-License-Identifier: Apache-2.0
"""ReLU6 that a unit can come back from: where it is flat, its gradient is a leak.

The folded network has no batch normalisation left that would hold its units in their range. After
some thousand steps most of the trunk's last channels were 0 or 6 for every picture, where the
gradient is zero, and so for good (benchmarks/stuck_units.py). The value is that of ReLU6, in
training as at run time; only the gradient is a surrogate's (Bengio, Leonard and Courville, arXiv
1308.3432, 2013).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIX = 6.0
SLOPE = 0.1
"""Of the gradient below 0 and above 6."""


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.relu6(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        steep = torch.ops.aten.hardtanh_backward(grads[0], x, 0.0, SIX)
        return torch.lerp(steep, grads[0], SLOPE)


def clipped(x: Tensor) -> Tensor:
    """min(max(x, 0), 6), with a gradient of SLOPE where that has none."""
    if torch.is_grad_enabled() and x.requires_grad:
        found: Tensor = _Clipped.apply(x)  # type: ignore[no-untyped-call]
        return found
    return F.relu6(x)


class Clipped(nn.Module):
    """`clipped` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return clipped(x)
