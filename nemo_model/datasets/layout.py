# SPDX-License-Identifier: Apache-2.0
"""Where the files of a data set lie: PASCAL3D+'s two halves, sets in its layout, ObjectNet3D."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from nemo_model.datasets.annotation import DEFAULT_VIEWPORT
from nemo_model.datasets.common import DatasetError, read_lines, tune_groups

OBJECTNET3D = "objectnet3d"
SOURCES = ("imagenet", "pascal", "stanford", "synth", OBJECTNET3D)
SPLITS = ("train", "val", "train-fit", "train-tune", "test")  # test: ObjectNet3D only
IMAGE_SUFFIXES = (".JPEG", ".jpg", ".jpeg", ".JPG", ".png")
OBJECTNET3D_VIEWPORT = 2000.0  # what its toolbox takes where a viewpoint has none


@dataclass(frozen=True)
class Layout:
    """The folders of one category.

    images, annotations: NAME.JPEG and NAME.mat; cads: folders with NN.off, the first that holds
    any counts; viewport: pixels, where an annotation has none.
    """

    root: Path
    category: str
    source: str
    images: Path
    annotations: Path
    cads: tuple[Path, ...]
    viewport: float

    def image(self, name: str) -> Path | None:
        """The image file of a name, by the suffixes in use; None where there is none."""
        for suffix in IMAGE_SUFFIXES:
            path = self.images / f"{name}{suffix}"
            if path.is_file():
                return path
        return None

    def annotation(self, name: str) -> Path:
        """The annotation file of a name."""
        return self.annotations / f"{name}.mat"

    def names(self, split: str) -> list[str]:
        """Names of the images of a split, in the order of the set, each once.

        Raises DatasetError on an unknown split, or where there is no list of it.
        """
        known = SPLITS if self.source == OBJECTNET3D else [s for s in SPLITS if s != "test"]
        if split not in known:
            raise DatasetError(f"split '{split}' is not known; choose one of {', '.join(known)}")
        base = split.partition("-")[0]
        names = self._listed(base)
        if split == base:
            return names
        classes = _classes(self.root / "classes.csv")
        group = {name: classes.get(name, name) for name in names}
        held_out = tune_groups(group.values())
        return [name for name in names if (group[name] in held_out) == (split == "train-tune")]

    def _listed(self, split: str) -> list[str]:
        """Names in the image set; for VOC photos also the VOC sets (lines "name 1|0|-1")."""
        voc = self.root / "PASCAL" / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
        sets = self.root / "Image_sets"
        candidates = [sets / f"{self.category}_{self.source}_{split}.txt"]
        if self.source == "pascal":
            candidates += [voc / f"{self.category}_{split}.txt", voc / f"{split}.txt"]
        if self.source == OBJECTNET3D:
            candidates = [sets / f"{split}.txt"]
        for path in candidates:
            if path.is_file():
                rows = [line.split() for line in read_lines(path)]
                names = [_stem(row[0]) for row in rows if len(row) < 2 or row[1] != "-1"]
                if path.parent == voc and path.name == f"{split}.txt":  # VOC's set of all
                    names = [name for name in names if self.annotation(name).is_file()]
                return list(dict.fromkeys(names))
        looked = "no image set; looked for " + ", ".join(map(str, candidates))
        there = sorted(path.stem for path in sets.glob(f"*_{self.source}_*.txt"))
        raise DatasetError(f"{looked}; there is {', '.join(there)}" if there else looked)


def layout(root: Path, category: str, source: str) -> Layout:
    """The layout of a source. Raises DatasetError on an unknown source or a missing root."""
    if source not in SOURCES:
        raise DatasetError(f"source '{source}' is not known; choose one of {', '.join(SOURCES)}")
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder (root of the data set)")
    images, annotations, cad = root / "Images", root / "Annotations", root / "CAD"
    if source == OBJECTNET3D:
        return Layout(
            root, category, source, images, annotations,
            (cad / "off" / category, cad / category), OBJECTNET3D_VIEWPORT,
        )  # fmt: skip
    folder = f"{category}_{source}"
    return Layout(
        root, category, source, images / folder, annotations / folder,
        (cad / category,), DEFAULT_VIEWPORT,
    )  # fmt: skip


def _stem(name: str) -> str:
    """A name without the suffix that some lists carry."""
    return next((name.removesuffix(s) for s in IMAGE_SUFFIXES if name.endswith(s)), name)


def _classes(path: Path) -> dict[str, str]:
    """Image name -> finer class (car model) from classes.csv; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"name", "class"} <= set(reader.fieldnames or ()):
            raise DatasetError(f"{path}: needs the columns 'name' and 'class'")
        return {row["name"]: row["class"] for row in reader}
