# SPDX-License-Identifier: Apache-2.0
"""How many units of a model's network have no say: 0 for every picture, or 6 for every one.

    python benchmarks/stuck_units.py --models imagenet models/car --images FOLDER

shows each network up to --limit pictures of a folder, stretched to its crop, and tells for every
resolution which share of the channels is 0, or 6, in all cells of all pictures. ReLU6 has no
gradient there, so a channel that is stuck for all pictures does not learn either
(nemo_model/training/clipped.py). The model "imagenet" is EfficientNet-Lite0 as it comes. Needs
torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from nemo_model.bundle import read_card
from nemo_model.datasets.common import read_image
from nemo_model.errors import NemoError
from nemo_model.evaluation.report import table
from nemo_model.training.backbone import Backbone, load_imagenet, scaled
from nemo_model.training.clipped import SIX, Clipped
from nemo_model.training.families.start import backbone_of
from nemo_model.training.start import bundle_weights

IMAGENET = "imagenet"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", required=True, metavar="BUNDLE")
    parser.add_argument("--images", type=Path, required=True, help="folder, looked through in full")
    parser.add_argument("--limit", type=int, default=64, help="pictures, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        images = _pictures(args.images, args.limit, args.seed)
        rows = [row for name in args.models for row in _rows(name, images)]
    except NemoError as error:
        print(f"stuck_units: error: {error}", file=sys.stderr)
        return 2
    head = ("model", "channels at", "number", "always 0 %", "always 6 %")
    print(table(head, rows))
    return 0


def _pictures(folder: Path, limit: int, seed: int) -> list[np.ndarray]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = np.random.default_rng(seed).permutation(len(paths))[: max(limit, 0)]
    if not len(chosen):
        raise NemoError(f"{folder}: no pictures, or none wanted (--limit {limit})")
    return [read_image(paths[i]) for i in chosen]


def _rows(name: str, images: list[np.ndarray]) -> list[tuple[str, ...]]:
    backbone, size = _backbone(name)
    stack = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])
    rows = []
    for stride, (low, high) in _extremes(backbone, torch.from_numpy(stack)).items():
        zero, six = (high <= 0.0).float().mean(), (low >= SIX).float().mean()
        place = f"stride {stride}"
        rows.append((name, place, str(len(low)), f"{100 * zero:.1f}", f"{100 * six:.1f}"))
    return rows


@torch.no_grad()
def _extremes(backbone: Backbone, images: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Least and greatest value (C,) of the trunk's clipped channels over images (N, H, W, 3), by
    their stride."""
    found: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def note(_: nn.Module, __: object, y: Tensor) -> None:
        each = y.amin(dim=(0, 2, 3)), y.amax(dim=(0, 2, 3))
        found.setdefault(images.shape[1] // y.shape[2], []).append(each)

    clips = [module for module in backbone.trunk.modules() if isinstance(module, Clipped)]
    hooks = [module.register_forward_hook(note) for module in clips]
    backbone.trunk(scaled(images.permute(0, 3, 1, 2).float()))
    for hook in hooks:
        hook.remove()
    return {
        stride: (torch.cat([low for low, _ in each]), torch.cat([high for _, high in each]))
        for stride, each in sorted(found.items())
    }


def _backbone(name: str) -> tuple[Backbone, tuple[int, int]]:
    """A model's network and the (width, height) of its crop."""
    if name == IMAGENET:
        backbone = Backbone()
        load_imagenet(backbone.trunk)
        return backbone.eval(), (192, 128)
    card = read_card(Path(name))
    return backbone_of(bundle_weights(Path(name)), card.features), (card.width, card.height)


if __name__ == "__main__":
    sys.exit(main())
