# SPDX-License-Identifier: Apache-2.0
"""A table's report as blocks of text and tables, which Markdown and HTML show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nemo_model.comparison import machine, paper
from nemo_model.comparison.cells import ALL, Cell
from nemo_model.comparison.plan import Column, Plan, Row, key
from nemo_model.comparison.runner import Outcome
from nemo_model.comparison.statistics import METRICS, Interval, verdict
from nemo_model.comparison.wording import (
    METRIC_TITLES,
    PROTOCOLS,
    TITLES,
    caption,
    minutes,
    name_of,
    number,
)
from nemo_model.evaluation.report import table


@dataclass(frozen=True)
class Block:
    """A heading, paragraphs, and a table (rows[0] is its header); names of plots shown below."""

    title: str
    text: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All that is reported but for the pictures themselves."""

    title: str
    blocks: tuple[Block, ...]
    problems: tuple[str, ...] = field(default_factory=tuple)


def make_report(
    plan: Plan, outcome: Outcome, cells: Sequence[Cell], pictures: Sequence[str] = ()
) -> Report:
    """The report; `pictures` are names of plots, those of a protocol begin with its name."""
    config = plan.config
    blocks = [_about(plan, outcome, cells)]
    for protocol in config.protocols:
        mine = [cell for cell in cells if cell.protocol == protocol and cell.category == ALL]
        if len(config.categories) == 1:
            mine = [cell for cell in cells if cell.protocol == protocol]
        for metric in METRICS:
            blocks.append(_figures(plan, outcome, mine, protocol, metric))
        shown = tuple(name for name in pictures if name.startswith(f"{protocol}-"))
        if len(config.systems) > 1:
            blocks.append(_gaps(plan, outcome, mine, protocol))
        blocks += _gains(plan, outcome, mine, protocol)
        if shown:
            blocks.append(
                Block(f"Plots, protocol {protocol}", (caption(plan, outcome),), (), shown)
            )
        if len(config.categories) > 1:
            blocks += _categories(plan, outcome, cells, protocol)
    examples = tuple(name for name in pictures if name.startswith("examples"))
    if examples:
        text = (
            "Objects drawn by the seed, not chosen: green cells explain the object, orange ones "
            "are left to the background, the crossed side is the front; magenta is the truth."
        )
        blocks.append(Block("Examples", (text, caption(plan, outcome)), (), examples))
    blocks.append(_runs(plan, outcome))
    if config.kind in paper.TABLES:
        header, rows = paper.TABLES[config.kind]
        text = f"pi/6 / pi/18 in %. {paper.SOURCE}"
        blocks.append(Block("The paper's figures, on PASCAL3D+", (text,), (header, *rows)))
    return Report(TITLES[config.kind], tuple(blocks), tuple(outcome.problems))


def markdown(report: Report) -> str:
    """The report as Markdown; plots are linked as plots/NAME."""
    parts = [f"# {report.title}"]
    if report.problems:
        parts.append("**Not complete:**")
        parts.append("\n".join(f"- {problem}" for problem in report.problems))
    for block in report.blocks:
        parts += [f"## {block.title}", *block.text]
        if block.rows:
            parts.append(table(block.rows[0], block.rows[1:]))
        parts += [f"![{name}](plots/{name})" for name in block.pictures]
    return "\n\n".join(parts) + "\n"


def _about(plan: Plan, outcome: Outcome, cells: Sequence[Cell]) -> Block:
    config = plan.config
    done, wanted = len(outcome.results), len(plan.evaluations())
    objects = {
        cell.column.name: cell.objects
        for cell in cells
        if cell.category in (ALL if len(config.categories) > 1 else config.categories[0],)
    }
    counts = ", ".join(f"{name}: {count}" for name, count in objects.items()) or "none yet"
    text = [
        caption(plan, outcome),
        f"Objects: {counts}. Evaluations done: {done} of {wanted}.",
        "Protocols: " + "; ".join(PROTOCOLS[name] for name in config.protocols) + ".",
        "Intervals hold 95 % of the bootstrap's resamples of the objects"
        + (
            " and of the seeds."
            if len(config.seeds) > 1
            else " (one seed: how much another training would differ is not in them)."
        )
        + " Several categories are weighted by their objects.",
        "Every system is trained on the same photos with the same augmentation, on as many "
        "samples, from the same ImageNet weights. No system is given more than the protocol says.",
    ]
    both = {"res50-general", "res50-specific"} <= set(config.systems)
    if both and len(config.categories) == 1:
        text.append(
            "With one category Res50-General and Res50-Specific are one system, trained once; what "
            "tells them apart are several categories."
        )
    return Block("What is compared", tuple(text))


def _figures(
    plan: Plan, outcome: Outcome, cells: Sequence[Cell], protocol: str, metric: str
) -> Block:
    found = {(cell.row, cell.column): cell for cell in cells}
    objects = {cell.column: f", n = {cell.objects}" for cell in cells}
    columns = [f"{column.name}{objects.get(column, '')}" for column in plan.columns]
    rows = []
    for row in plan.rows:
        line = [found.get((row, column)) for column in plan.columns]
        seeds = max((len(cell.seeds) for cell in line if cell), default=0)
        texts = [number(cell.figures[metric], metric) if cell else "-" for cell in line]
        rows.append((name_of(row), *texts, str(seeds), minutes(plan, outcome, row)))
    header = ("", *columns, "seeds", "minutes of training")
    title = f"{METRIC_TITLES[metric]}: protocol {protocol}"
    return Block(title, (caption(plan, outcome),), (header, *rows))


def _gaps(plan: Plan, outcome: Outcome, cells: Sequence[Cell], protocol: str) -> Block:
    rows = [row for row in plan.rows if row.system != plan.reference]
    text = (
        "On the same objects, with the reference trained with the same augmentation. "
        '"ahead" and "behind" (of the reference): the 95 % interval leaves zero out.'
    )
    title = f"Difference to {Row(plan.reference, True).title}: protocol {protocol}"
    return _differences(
        plan, outcome, title, text, rows, {(c.row, c.column): c.gaps for c in cells}
    )


def _gains(plan: Plan, outcome: Outcome, cells: Sequence[Cell], protocol: str) -> list[Block]:
    rows = [row for row in plan.rows if row.occluders and Row(row.system, False) in plan.rows]
    text = "The same system with occluders in training minus without, on the same objects."
    title = f"What occluders in training give: protocol {protocol}"
    gains = {(c.row, c.column): c.gains for c in cells}
    return [_differences(plan, outcome, title, text, rows, gains)] if rows else []


def _differences(
    plan: Plan,
    outcome: Outcome,
    title: str,
    text: str,
    rows: Sequence[Row],
    found: Mapping[tuple[Row, Column], Mapping[str, Interval]],
) -> Block:
    units = {"acc_pi_6": "pi/6, points", "acc_pi_18": "pi/18, points"}
    lines = [("", "", *(column.name for column in plan.columns))]
    for row in rows:
        for metric in METRICS:
            gaps = [found.get((row, column), {}).get(metric) for column in plan.columns]
            texts = [
                f"{number(gap, metric, signed=True)} {verdict(gap, metric)}" if gap else "-"
                for gap in gaps
            ]
            lines.append((name_of(row), units.get(metric, "median, degrees"), *texts))
    return Block(title, (text, caption(plan, outcome)), tuple(lines) if rows else ())


def _categories(plan: Plan, outcome: Outcome, cells: Sequence[Cell], protocol: str) -> list[Block]:
    blocks = []
    names = plan.config.categories
    for column in plan.columns:
        found = {
            (cell.row, cell.category): cell
            for cell in cells
            if cell.protocol == protocol and cell.column == column and cell.category != ALL
        }
        rows = []
        for row in plan.rows:
            texts = []
            for name in names:
                cell = found.get((row, name))
                values = [100 * cell.figures[m].value for m in METRICS[:2]] if cell else []
                texts.append(" / ".join(f"{value:.1f}" for value in values) or "-")
            rows.append((name_of(row), *texts))
        title = f"By category, {column.name}: protocol {protocol}"
        blocks.append(
            Block(title, (f"pi/6 / pi/18 in %. {caption(plan, outcome)}",), (("", *names), *rows))
        )
    return blocks


def _runs(plan: Plan, outcome: Outcome) -> Block:
    header = ("training", "seed", "steps x batch", "minutes", "machine", "model (SHA-256)")
    rows = []
    for run in plan.runs():
        done = outcome.trained.get(run)
        rows.append((
            key(run), str(run.seed), f"{run.steps} x {run.batch}",
            f"{done.seconds / 60:.1f}" if done else "-",
            machine.words(done.machine) if done else "-",
            done.digest[:12] if done else "not trained",
        ))  # fmt: skip
    return Block("Trainings", (), (header, *rows))
