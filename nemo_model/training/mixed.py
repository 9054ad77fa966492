# SPDX-License-Identifier: Apache-2.0
"""Samples of a second data set among those of the first: rendered objects among photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.meshes.meshset import MeshSet
from nemo_model.training.config import TrainConfig
from nemo_model.training.loader import Maker, category_geometry, load_photos, sample_maker
from nemo_model.training.parts import whole
from nemo_model.training.samples import Sample

_WHICH = 0xD0
"""Keeps the draw of a data set apart from what is drawn for the sample."""
_PARTS = 1024
"""Shares are counted in parts of this many."""


class Mixed:
    """Sample i is of one of two makers over the same meshes, by the seed, i and the share alone.

    share: how many samples are of the second, 0 to 1.
    """

    def __init__(self, first: Maker, second: Maker, share: float, seed: int) -> None:
        self.makers, self.seed = (first, second), seed
        self.first_parts = round((1.0 - share) * _PARTS)

    @property
    def meshes(self) -> MeshSet:
        return self.makers[0].meshes

    def is_second(self, index: int) -> bool:
        """Whether sample number `index` is of the second data set."""
        drawn = np.random.default_rng([self.seed, index, _WHICH]).integers(_PARTS)
        return int(drawn) >= self.first_parts

    def __call__(self, index: int) -> Sample:
        """Return sample number `index` of the run."""
        return self.makers[self.is_second(index)](index)


def maker_of(
    root: Path,
    also: Path | None,
    backgrounds: Path,
    config: TrainConfig,
    meshes: MeshSet | None = None,
    quiet: bool = False,
    photos: Sequence[npt.NDArray[np.uint8]] | None = None,
) -> Maker:
    """Read data and return the maker of samples, of one data set or of two.

    Args:
        also: the second data set, of config.also_source; the cuboid is of the first one's models.
        Others: as of loader.sample_maker.

    Raises:
        NemoError: when data are missing, a second set or its share is given without the other, or
            a second set comes with meshes of its own numbering.
    """
    if (also is None) != (config.also_share == 0.0):
        raise NemoError("a second data set needs a folder (--also) and a share (--also-share)")
    if also is None:
        return sample_maker(root, backgrounds, config, meshes, quiet, photos)[0]
    if meshes is not None:
        raise NemoError("a second data set is mixed in over one cuboid, not over other meshes")
    if photos is None:
        photos = load_photos(backgrounds, quiet)
    first = Pascal3D(root, config.category, config.source, config.split, config.views)
    mesh, outline, _ = category_geometry(first, config.vertices)
    shared = whole(config.category, mesh, outline)
    second = config.model_copy(update={"source": config.also_source, "left_out": ()})
    makers = [
        sample_maker(folder, backgrounds, each, shared, quiet, photos)[0]
        for folder, each in ((root, config), (also, second))
    ]
    return Mixed(makers[0], makers[1], config.also_share, config.seed)
