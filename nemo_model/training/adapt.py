# SPDX-License-Identifier: Apache-2.0
"""Fit a trained backbone to pictures without labels, by the statistics of its channels.

Adaptive batch normalisation (Y. Li et al., Revisiting Batch Normalization For Practical Domain
Adaptation, arXiv:1603.04779, 2016) normalises a channel x by the mean m and deviation s of the
domain that it is used in: gamma (x - m) / s + beta. Here the batch normalisation of the trunk is
folded into its convolutions. The same is reached by giving each channel of a convolution's output,
on target pictures, the mean and deviation that it has on source pictures:

    y = (x - m_target) / s_target * s_source + m_source

which is folded in again, so that the network's size and speed stay as they are. Layers are taken in
the order of the forward pass, each with the statistics that the layers before it, adapted already,
give it, as batch statistics would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nemo_model.training.backbone import Backbone, SameConv

LEAST = 1e-3
"""A channel that varies less is only shifted."""
STEEPEST = 4.0
"""Largest factor, and inverse of the smallest, on a channel."""


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (C,) of each channel of a convolution's output."""

    mean: Tensor
    deviation: Tensor

    @staticmethod
    def of(output: Tensor) -> Moments:
        """Of an output (B, C, H, W)."""
        return Moments(output.mean(dim=(0, 2, 3)), output.std(dim=(0, 2, 3)))


@torch.no_grad()
def adapt(backbone: Backbone, source: Tensor, target: Tensor) -> None:
    """Change the trunk's convolutions in place.

    Args:
        source, target: pictures (B, 3, H, W) in [0, 255] of the domain that the backbone was
            trained on and of the one that it is for; each batch goes through the trunk as a whole.
    """
    known = moments(backbone, source)

    def fit(name: str, conv: nn.Conv2d, output: Tensor) -> Tensor:
        here, there = Moments.of(output), known[name]
        factor = there.deviation / here.deviation.clamp_min(LEAST)
        steady = (here.deviation < LEAST) | (there.deviation < LEAST)
        factor = torch.where(steady, 1.0, factor.clamp(1.0 / STEEPEST, STEEPEST))
        shift = there.mean - here.mean * factor
        assert conv.bias is not None
        conv.weight.mul_(factor[:, None, None, None])
        conv.bias.mul_(factor).add_(shift)
        return output * factor[:, None, None] + shift[:, None, None]

    _through(backbone, target, fit)


@torch.no_grad()
def moments(backbone: Backbone, pictures: Tensor) -> dict[str, Moments]:
    """By the name of each convolution of the trunk, the moments of its output on pictures."""
    found: dict[str, Moments] = {}

    def note(name: str, _: nn.Conv2d, output: Tensor) -> Tensor:
        found[name] = Moments.of(output)
        return output

    _through(backbone, pictures, note)
    return found


Visit = Callable[[str, nn.Conv2d, Tensor], Tensor]


def _through(backbone: Backbone, pictures: Tensor, visit: Visit) -> None:
    """Run the trunk; visit(name, convolution, output) gives what goes on instead of the output."""
    hooks = []
    for name, layer in backbone.trunk.named_modules():
        if isinstance(layer, SameConv):

            def hook(_: nn.Module, __: object, output: Tensor, *, name: str = name,
                     conv: nn.Conv2d = layer.conv) -> Tensor:  # fmt: skip
                return visit(name, conv, output)

            hooks.append(layer.conv.register_forward_hook(hook))
    try:
        backbone.trunk((pictures - 127.5) / 127.5)
    finally:
        for each in hooks:
            each.remove()
