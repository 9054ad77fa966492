# SPDX-License-Identifier: Apache-2.0
"""PASCAL3D+ 1.1, everything in its layout, and ObjectNet3D: photos with boxes and 6 DoF pose.

Layout below `root`: Images|Annotations/<cat>_<source>/, Image_sets/<cat>_<source>_<split>.txt,
CAD/<cat>/NN.off; ObjectNet3D keeps all categories together, see layout.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from nemo_model.datasets.annotation import Pascal3DObject, read_annotation
from nemo_model.datasets.cad import load_cads
from nemo_model.datasets.collection import ObjectSet
from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.layout import SOURCES, SPLITS, Layout, layout
from nemo_model.mesh import Mesh

__all__ = ["SOURCES", "SPLITS", "Pascal3D", "Pascal3DObject", "annotated"]

SLOW = 20_000
"""From so many annotation files on, reading them shows its progress."""


@dataclass
class Pascal3D(ObjectSet[Pascal3DObject]):
    """The objects of one category, source and split, in the order of the image set.

    source: "imagenet" or "pascal", the halves of PASCAL3D+; "stanford", cars in its layout;
    "synth", what `nemo synth` renders;
    "objectnet3d". split: "train", "val", for ObjectNet3D also "test", or "train-fit" /
    "train-tune", a fixed partition of train: about 8 % of the classes of <root>/classes.csv
    (columns name, class), without that file of the images, are held out for tuning. views: "all",
    "seen" or "unseen", see views.py. Raises DatasetError on an unknown split, missing or damaged
    files, or when nothing is left.
    """

    root: Path
    category: str
    source: str = "stanford"
    split: str = "train"
    views: str = "all"

    def __post_init__(self) -> None:
        self.root = Path(self.root)
        where = layout(self.root, self.category, self.source)
        names = where.names(self.split)
        for name in tqdm(names, desc="annotations", leave=False, disable=len(names) < SLOW):
            image_path = where.image(name)
            if not where.annotation(name).is_file():
                self.skipped["no annotation file"] += 1
            elif image_path is None:
                self.skipped["no image file"] += 1
            else:
                self.objects += annotated(where, name, image_path, self.skipped)
        self._finish(
            self.views,
            f"{self.root}: no usable '{self.category}' in {self.source}/{self.split}",
        )

    @cached_property
    def cads(self) -> dict[int, Mesh]:
        """All CAD models of the category by cad_index. Raises DatasetError where there are none."""
        where = layout(self.root, self.category, self.source)
        return load_cads(self.root, self.category, where.cads)

    def cad(self, cad_index: int) -> Mesh:
        """The CAD model of a sub-type. Raises DatasetError where the set has none."""
        if cad_index not in self.cads:
            raise DatasetError(
                f"{self.root}: no CAD model {cad_index} of '{self.category}', only "
                f"{', '.join(map(str, self.cads))}"
            )
        return self.cads[cad_index]

    def cad_path(self, cad_index: int) -> Path:
        """The OFF file of a sub-type. Raises DatasetError where the set has none."""
        folders = layout(self.root, self.category, self.source).cads
        paths = [folder / f"{cad_index:02d}.off" for folder in folders]
        for path in paths:
            if path.is_file():
                return path
        raise DatasetError(f"{paths[0]}: no such CAD model (cad_index {cad_index})")


def annotated(
    where: Layout, name: str, image_path: Path, skipped: Counter[str]
) -> list[Pascal3DObject]:
    """The objects that the annotation of `name` gives; what it does not give is counted."""
    objects, left_out = read_annotation(
        where.annotation(name), image_path, where.category, where.viewport
    )
    skipped.update(left_out)
    return objects
