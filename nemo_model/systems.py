# SPDX-License-Identifier: Apache-2.0
"""The systems that the paper compares, by name: how each is trained and how it is loaded.

All of them get the same photos, the same augmentation, as many samples and the same
ImageNet-initialised trunk; see docs/rivals.md. Nothing here imports torch until it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nemo_model.errors import NemoError
from nemo_model.evaluation.evaluate import PoseEstimator


@dataclass(frozen=True)
class Run:
    """One training: all that decides its outcome (and so its folder's name).

    Attributes:
        system: a key of SYSTEMS.
        root: data set in a PASCAL3D+ layout.
        backgrounds: photos for padding and occluders.
        categories: each is trained on as many samples as the others; a system that is not shared
            between categories is trained once for each, on steps * batch samples.
        source, split, views: of the data set; views "seen": the paper's four azimuth bins.
        occluders: paste occluders and neighbours in training.
        seed, steps, batch: of the training.
        backbone: "lite0", EfficientNet-Lite0 with ImageNet weights; there is no other.
        keypoints: named 3D keypoints for StarMap; ROOT/CAD/keypoints.json when None.
        settings: other fields of TrainConfig as KEY=JSON, e.g. "augment.flip=0".
    """

    system: str
    root: Path
    backgrounds: Path
    categories: tuple[str, ...] = ("car",)
    source: str = "stanford"
    split: str = "train-fit"
    views: str = "all"
    occluders: bool = True
    seed: int = 0
    steps: int = 600
    batch: int = 32
    backbone: str = "lite0"
    keypoints: Path | None = None
    settings: tuple[str, ...] = ()


Train = Callable[[Run, Path, int, int], Path]
Load = Callable[[Path, int], PoseEstimator]


@dataclass(frozen=True)
class System:
    """One way to estimate poses.

    Attributes:
        name: its key in SYSTEMS.
        title: as in the paper's tables.
        train: (run, out, workers, threads) -> folder of the trained model. Goes on from what is in
            `out`. A run of several categories leaves one model per category below that folder.
        load: (folder, threads) -> what nemo_model.evaluation.evaluate takes.
    """

    name: str
    title: str
    train: Train
    load: Load


def _train_nemo(run: Run, out: Path, workers: int, threads: int) -> Path:
    needs_torch()
    from nemo_model.training.runs import train_bundles

    return train_bundles(run, out, workers, threads)


def _load_nemo(name: str, folder: Path, threads: int) -> PoseEstimator:
    from nemo_model.estimator import Estimator

    estimator = Estimator.load(folder, threads=threads)
    trained = str(estimator.bundle.card.training.get("system", "nemo"))
    if trained != name:
        raise NemoError(f"{folder}: is a model of the system '{trained}', not of '{name}'")
    return estimator


def _train_rival(run: Run, out: Path, workers: int, threads: int) -> Path:
    needs_torch()
    from nemo_model.rivals.runs import train_rivals

    return train_rivals(run, out, workers, threads)


def _load_rival(name: str, folder: Path, threads: int) -> PoseEstimator:
    needs_torch()
    from nemo_model.rivals.estimator import RivalEstimator

    return RivalEstimator.load(folder, name, threads)


def needs_torch() -> None:
    """Raises NemoError where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise NemoError(
            f"this needs torch: make train-env, or pip install .[train] ({error})"
        ) from error


def _nemo(name: str, title: str) -> System:
    return System(name, title, _train_nemo, partial(_load_nemo, name))


def _rival(name: str, title: str) -> System:
    return System(name, title, _train_rival, partial(_load_rival, name))


SYSTEMS: dict[str, System] = {
    each.name: each
    for each in (
        _nemo("nemo", "NeMo-SingleCuboid"),
        _nemo("nemo-silhouettes", "NeMo with silhouettes"),
        _nemo("nemo-viewpoint", "NeMo with silhouettes and viewpoint prior"),
        _nemo("nemo-multi-cuboid", "NeMo-MultiCuboid"),
        _nemo("nemo-cad", "NeMo"),
        _nemo("nemo-no-contrast", "NeMo without contrastive terms"),
        _nemo("nemo-no-clutter", "NeMo without a clutter model"),
        _nemo("nemo-no-pose-term", "NeMo without the pose-ranking term"),
        _rival("res50-general", "Res50-General"),
        _rival("res50-specific", "Res50-Specific"),
        _rival("starmap", "StarMap"),
    )
}


def system(name: str) -> System:
    """The system of a name. Raises NemoError that lists the known ones."""
    if name not in SYSTEMS:
        raise NemoError(f"system '{name}' is not known; choose one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def model_folder(folder: Path, category: str) -> Path:
    """Where the model of a category lies: in the folder itself, or below it by its name."""
    below = folder / category
    return below if below.is_dir() else folder
