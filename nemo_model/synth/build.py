# SPDX-License-Identifier: Apache-2.0
"""A whole set: which model each image shows, the images, lists, CAD models and the families' table.

Image i depends on the set's settings and on i alone: a stopped run goes on, a longer one begins
with the shorter one's images, several processes give the same bytes as one.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nemo_model.datasets.occluders import photo_paths
from nemo_model.errors import NemoError
from nemo_model.synth import record
from nemo_model.synth.catalogue import Entry, of_category, split_families
from nemo_model.synth.cycles import Cycles
from nemo_model.synth.draw import draw
from nemo_model.synth.record import SOURCE
from nemo_model.synth.scene import (
    Ranges,
    draw_background,
    draw_lights,
    draw_stretch,
    draw_view,
    photograph,
    recolour,
    tight_box,
)  # fmt: skip
from nemo_model.synth.simplify import simplified
from nemo_model.synth.store import stored_model

VERSION = 1
"""Of what the images look like: roots of another one are not gone on with."""
FLYING = ("aeroplane",)
"""Categories that cast a shadow on the ground in half of the images only."""


@dataclass(frozen=True)
class Settings:
    """All that decides what the images show.

    Attributes:
        category, split, seed: of the set.
        box_jitter: standard deviation of each side of the boxes, share of the box's size.
        ranges: see scene.
        without: families that the set does not show, of those of its split.
    """

    category: str
    split: str
    seed: int = 0
    box_jitter: float = 0.0
    ranges: Ranges = field(default_factory=Ranges)
    without: tuple[str, ...] = ()

    def name(self, index: int) -> str:
        """The name of image `index`."""
        return f"{self.category}_{self.split}_{index:06d}"

    def generator(self, index: int) -> np.random.Generator:
        """The random numbers of image `index`."""
        text = f"{self.seed}/{self.category}/{self.split}/{index}"
        return np.random.default_rng(
            int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        )


@dataclass(frozen=True)
class Job:
    """What a process needs: the category's models with their CAD number, the photos, the renderer.

    cycles: None: the project's own renderer (draw.draw).
    """

    settings: Settings
    entries: tuple[tuple[int, Entry], ...]
    cache: Path
    root: Path
    photos: tuple[Path, ...]
    cycles: Cycles | None = None


def chosen(
    entries: Sequence[Entry], category: str, split: str, without: Sequence[str] = ()
) -> list[tuple[int, Entry]]:
    """The models of a category and split with their CAD numbers, which no split changes.

    Raises NemoError on an unknown category or split, a family to leave out that is not in it, or
    where none is left.
    """
    every = of_category(entries, category)
    families = split_families([entry.family for entry in every], split)
    for family in without:
        if family not in families:
            raise NemoError(
                f"--without {family}: is none of {category}'s {split} split: {', '.join(families)}"
            )
    shown = set(families) - set(without)
    if not shown:
        raise NemoError(f"--without: leaves no family of {category}'s {split} split")
    return [(k, entry) for k, entry in enumerate(every, 1) if entry.family in shown]


def build(
    entries: Sequence[Entry], settings: Settings, count: int, cache: Path, root: Path,
    backgrounds: Sequence[Path] = (), workers: int = 1, cycles: Cycles | None = None,
) -> list[str]:  # fmt: skip
    """Render a set, or what it lacks; return the names of its images.

    Args:
        entries: the table of models.
        count: images.
        cache: folder of the packages, see packages.fetch.
        root: of the data set; may hold other categories, and the same one's other split.
        backgrounds: folders of photos; none: smooth noise.
        workers: processes.
        cycles: draws the pictures; None: the project's own renderer.

    Raises:
        NemoError: on an unknown category, split or family, missing packages, a root whose images
            were made with other settings or another renderer, or a Cycles that cannot be run.
    """
    if count < 1 or workers < 1:
        raise NemoError("--count and --workers must be at least 1")
    mine = chosen(entries, settings.category, settings.split, settings.without)
    photos = tuple(photo_paths(backgrounds)) if backgrounds else ()
    _check(root, settings, mine, photos, cycles)
    for number, entry in tqdm(mine, desc="models", unit="model", leave=False, dynamic_ncols=True):
        path = root / "CAD" / settings.category / f"{number:02d}.off"
        if not path.is_file():
            record.write_off(path, simplified(stored_model(entry, cache).points))
    job = Job(settings, tuple(mine), cache, root, photos, cycles)
    missing = [
        k for k in range(count)
        if not record.annotation_path(root, settings.category, settings.name(k)).is_file()
    ]  # fmt: skip
    bar = tqdm(total=count, initial=count - len(missing), desc=f"{settings.category} "
               f"{settings.split}", unit="image", dynamic_ncols=True)  # fmt: skip
    with bar:
        if workers == 1:
            for index in missing:
                render(job, index)
                bar.update()
        else:
            if cycles is not None:
                cycles.close()  # each process starts its own
            with ProcessPoolExecutor(workers) as pool:
                chunks = [missing[k : k + 16] for k in range(0, len(missing), 16)]
                for done in pool.map(_render_all, [job] * len(chunks), chunks):
                    bar.update(done)
    names = [settings.name(k) for k in range(count)]
    lists = root / "Image_sets"
    record.write_list(lists / f"{settings.category}_{SOURCE}_{settings.split}.txt", names)
    _write_classes(root, {settings.name(k): pick(job, k)[1].family for k in range(count)})
    return names


def pick(job: Job, index: int) -> tuple[int, Entry]:
    """The model of an image: a family by chance, then one of its models."""
    rng = job.settings.generator(index)
    families = sorted({entry.family for _, entry in job.entries})
    family = families[int(rng.integers(len(families)))]
    models = [one for one in job.entries if one[1].family == family]
    return models[int(rng.integers(len(models)))]


def render(job: Job, index: int) -> None:
    """Render and write one image."""
    settings = job.settings
    number, entry = pick(job, index)
    model = stored_model(entry, job.cache)
    rng = np.random.default_rng((*settings.generator(index).integers(0, 2**31, 4), 1))
    extra: dict[str, object] = {
        "subtype": entry.name, "family": entry.family, "metres_per_unit": entry.diagonal_m,
        "symmetry": float(entry.symmetry),
    }  # fmt: skip
    if settings.ranges.stretched:
        factors = draw_stretch(model.extent, entry.symmetry, settings.ranges.stretched, rng)
        diagonal = float(np.linalg.norm(factors * model.extent))
        model = model.stretched(factors / diagonal)
        extra |= {
            "stretch": factors / diagonal, "metres_per_unit": entry.diagonal_m * diagonal
        }  # fmt: skip
    view = draw_view(model.hull, settings.ranges, rng)
    background = draw_background(job.photos, (view.width, view.height), rng)
    lights = draw_lights(background, rng)
    shadow = rng.uniform(0.3, 0.9)
    if settings.category in FLYING and rng.random() < 0.5:
        shadow = 0.0
    exposure = float(np.exp(0.2 * rng.normal()))
    coloured = recolour(model, settings.ranges, job.photos, rng)
    scene = (coloured, view.T_cam_obj, view.K, background, lights, shadow, exposure)
    if job.cycles is None:
        drawing = draw(*scene)
    else:
        paths = int(settings.generator(index).integers(2**31))
        drawing = job.cycles.draw(*scene, seed=paths)
    photo = photograph(drawing.image, rng)
    box = tight_box(model.hull, view)
    noise = rng.normal(0.0, 1.0, 4)
    box = box + settings.box_jitter * np.tile(box[2:] - box[:2], 2) * noise
    record.write_image(
        job.root, settings.category, settings.name(index),
        replace(drawing, image=photo), view, box, number, extra,
    )  # fmt: skip


def _render_all(job: Job, indices: Sequence[int]) -> int:
    for index in indices:
        render(job, index)
    return len(indices)


def _check(
    root: Path, settings: Settings, mine: Sequence[tuple[int, Entry]], photos: Sequence[Path],
    cycles: Cycles | None,
) -> None:  # fmt: skip
    """Write what the set is made with; refuse a root that holds something else."""
    path = root / "synth" / f"{settings.category}_{settings.split}.json"
    content = asdict(settings) | {
        "version": VERSION,
        "models": [[number, entry.package, entry.path] for number, entry in mine],
        "photos": hashlib.sha256("\n".join(p.name for p in photos).encode()).hexdigest(),
        "credits": sorted({f"{e.author or 'unnamed'}, {e.licence} ({e.package})" for _, e in mine}),
    }  # fmt: skip
    del content["without"]  # the models tell
    if not settings.ranges.stretched:
        del content["ranges"]["stretched"]  # sets from before it could be asked for
    if cycles is not None:
        content["renderer"] = cycles.record()
    text = json.dumps(content, indent=1)
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != json.loads(text):
            raise NemoError(
                f"{path}: the images here were made with other settings, models or photos or by "
                "another renderer; give the same options, or another --out"
            )
        return
    record.write_list(path, text.splitlines())


def _write_classes(root: Path, families: dict[str, str]) -> None:
    """Add to classes.csv, by which `train-fit` and `train-tune` part train."""
    path = root / "classes.csv"
    rows: dict[str, str] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["name"]: row["class"] for row in csv.DictReader(file)}
    rows |= families
    record.write_list(path, ["name,class", *(f"{name},{rows[name]}" for name in sorted(rows))])
