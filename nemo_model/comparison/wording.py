# SPDX-License-Identifier: Apache-2.0
"""The words of a table's report: titles, what every table must say, figures with intervals."""

from __future__ import annotations

from nemo_model.comparison import machine
from nemo_model.comparison.config import TableConfig
from nemo_model.comparison.plan import Plan, Row
from nemo_model.comparison.runner import Outcome
from nemo_model.comparison.statistics import Interval

TITLES = {
    "occlusion": "Pose under occlusion",
    "unseen": "Views that were not trained on",
    "mesh": "How close the mesh is to the object",
    "ablation": "What each part of NeMo gives",
}
METRIC_TITLES = {
    "acc_pi_6": "Rotation error below 30 degrees (pi/6), % of the objects",
    "acc_pi_18": "Rotation error below 10 degrees (pi/18), % of the objects",
    "median_deg": "Median rotation error, degrees",
}
PROTOCOLS = {
    "paper": "paper: centre, focal length and distance are given, 3 degrees of freedom are sought",
    "paper-subtype": "paper-subtype: as paper, and the annotated CAD model picks the mesh",
    "robot": "robot: image, box and K alone, 6 degrees of freedom",
}
OTHER_DATA = "Figures on other data, splits, occluders or protocols are not comparable with these."


def caption(plan: Plan, outcome: Outcome) -> str:
    """What every table must say: data, occluders, seeds, training, machine."""
    config = plan.config
    seeds = ", ".join(map(str, config.seeds))
    views = ", trained on the seen views only" if config.kind == "unseen" else ""
    levels = "" if config.kind == "unseen" else f" {occluders(config)}."
    limit = "" if config.limit is None else f", {config.limit} objects per category drawn"
    return (
        f"{config.root.name}, {config.source}/{config.split}{limit}, "
        f"{', '.join(config.categories)}; trained on {config.train_split}{views}, "
        f"{config.steps} steps x {config.batch} samples per category, seed(s) {seeds}, "
        f"on {machines(outcome)}.{levels} {OTHER_DATA}"
    )


def machines(outcome: Outcome) -> str:
    """All that was trained on."""
    found = sorted({machine.words(each.machine) for each in outcome.trained.values()})
    return "; ".join(found) or "nothing yet"


def occluders(config: TableConfig) -> str:
    """Where the occluders of L1 to L3 come from."""
    if not any(config.levels):
        return "No occluded copies"
    if config.occluded_root is not None:
        return f"L1 to L3: the occluded copies in {config.occluded_root.name}"
    photos = config.occluder_photos
    if photos is None or photos.resolve() == config.backgrounds.resolve():
        origin = f"{config.backgrounds.name}, which training pastes too"
    else:
        origin = f"{photos.name}, which training does not use"
    return (
        f"L1 to L3: made by nemo occlude's code (seed {config.occlusion_seed}) from photos of "
        f"{origin}"
    )


def name_of(row: Row) -> str:
    """A row's label."""
    return f"{row.title}, {'with' if row.occluders else 'without'} occluders in training"


def number(value: Interval, metric: str, signed: bool = False) -> str:
    """A figure with its interval: 83.2 (80.1 to 86.0), percent or degrees."""
    scale = 1.0 if metric == "median_deg" else 100.0
    form = "+.1f" if signed else ".1f"
    return (
        f"{scale * value.value:{form}} ({scale * value.low:{form}} to {scale * value.high:{form}})"
    )


def minutes(plan: Plan, outcome: Outcome, row: Row) -> str:
    """How long a row's trainings took on average; of all categories together."""
    runs = [plan.run(row, seed) for seed in plan.config.seeds]
    seconds = [outcome.trained[run].seconds for run in runs if run in outcome.trained]
    return f"{sum(seconds) / len(seconds) / 60:.1f}" if seconds else "-"
