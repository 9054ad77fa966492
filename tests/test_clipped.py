# SPDX-License-Identifier: Apache-2.0
"""ReLU6 with a leaking gradient: its values and gradient, and that a unit comes back."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nemo_model.training.backbone import Backbone
from nemo_model.training.clipped import SLOPE, Clipped, clipped

VALUES = [-3.0, -0.1, 0.2, 5.9, 6.1, 9.0]


def test_values_are_relu6s_with_and_without_gradients() -> None:
    x = torch.tensor(VALUES)
    assert torch.equal(clipped(x), F.relu6(x))
    assert torch.equal(clipped(x.clone().requires_grad_()).detach(), F.relu6(x))


def test_gradient_is_one_inside_and_leaks_outside() -> None:
    x = torch.tensor(VALUES, requires_grad=True)
    clipped(x).backward(torch.full((6,), 2.0))
    expected = [2 * SLOPE, 2 * SLOPE, 2.0, 2.0, 2 * SLOPE, 2 * SLOPE]
    torch.testing.assert_close(x.grad, torch.tensor(expected))


@pytest.mark.parametrize("start", [-4.0, 10.0])
def test_a_unit_that_is_stuck_for_every_input_learns_again(start: float) -> None:
    bias = torch.tensor(start, requires_grad=True)
    inputs = torch.linspace(-1.0, 1.0, 11)
    optimiser = torch.optim.SGD([bias], lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        (clipped(bias + inputs) - 3.0).square().mean().backward()
        optimiser.step()
    assert 2.9 < clipped(bias + inputs).mean().item() < 3.1


def test_all_of_the_backbones_units_are_such() -> None:
    backbone = Backbone(context=8)
    plain = [m for m in backbone.modules() if isinstance(m, torch.nn.ReLU | torch.nn.ReLU6)]
    assert not plain
    assert sum(isinstance(m, Clipped) for m in backbone.modules()) == 21  # stem, 16 blocks, 4


@pytest.mark.parametrize("bias", [-1e3, 1e3])
def test_a_channel_of_the_trunk_that_is_stuck_has_a_gradient(bias: float) -> None:
    torch.manual_seed(0)
    backbone = Backbone()
    conv = backbone.trunk.blocks[12].expand.conv
    with torch.no_grad():
        conv.bias[7] = bias
    backbone(255.0 * torch.rand(1, 3, 64, 64))[..., 0, 0].sum().backward()
    assert float(conv.weight.grad[7].abs().max()) > 0.0
