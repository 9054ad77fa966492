# SPDX-License-Identifier: Apache-2.0
"""One backbone for several categories: models/NAME/backbone.onnx, models/NAME/CATEGORY/card.json.

Each category's folder is a bundle like any other, whose card says that its backbone lies beside it.
A bundle with a backbone of its own may have categories below it as well (nemo add-category).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nemo_model.bundle import (
    CARD,
    SHARED,
    Bundle,
    BundleError,
    categories,
    sha256,
    write_neural_mesh,
)
from nemo_model.estimator import Estimator
from nemo_model.features import FeatureExtractor


def members(folder: Path) -> list[Path]:
    """The folders of the bundles that a folder stands for: itself, its categories, or both."""
    below = [folder / name for name in categories(folder)]
    return [folder, *below] if (folder / CARD).is_file() or not below else below


def write_family(bundles: Sequence[Bundle], backbone: bytes) -> None:
    """Write bundles of one family: the backbone once, and each one's other files.

    Raises:
        BundleError: when one of them does not share its backbone with the others.
    """
    folder = bundles[0].folder.parent
    for bundle in bundles:
        if bundle.card.backbone != SHARED or bundle.folder.parent != folder:
            raise BundleError(f"{bundle.folder}: is no part of the family {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for bundle in bundles:
        bundle.folder.mkdir(exist_ok=True)
    bundles[0].onnx_path.write_bytes(backbone)
    for bundle in bundles:
        write_neural_mesh(bundle)


def load_family(
    folder: Path, *, threads: int = 1, providers: Sequence[str] | None = None, **options: Any
) -> list[Estimator]:
    """The estimators of a bundle or of all categories of a family, over one session.

    Args:
        folder: of the bundle or the family.
        threads, providers: of the backbone, see FeatureExtractor.
        options: of Estimator.

    Raises:
        BundleError: when one of them is incomplete, altered or inconsistent.
    """
    sessions: dict[str, FeatureExtractor] = {}
    found = []
    for member in members(folder):
        bundle = Bundle.load(member)
        key = sha256(bundle.onnx_path)
        if key not in sessions:
            sessions[key] = FeatureExtractor(bundle.onnx_path, threads, providers)
        found.append(Estimator(bundle, sessions[key], **options))
    return found


def sharing(estimators: Sequence[Any]) -> list[list[int]]:
    """Places of estimators, grouped by what makes their observations the same.

    The same network, crop size and fill: a box observed by one of them may be solved by another.
    Stand-ins for an Estimator share with nobody.
    """
    groups: dict[Any, list[int]] = {}
    for place, one in enumerate(estimators):
        groups.setdefault(_view_of(one, place), []).append(place)
    return list(groups.values())


def _view_of(estimator: Any, place: int) -> Any:
    if not isinstance(estimator, Estimator):
        return place
    card = estimator.bundle.card
    return id(estimator.extractor), card.width, card.height, card.fill
