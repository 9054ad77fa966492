# SPDX-License-Identifier: Apache-2.0
"""Writes a table's folder: config, Markdown, CSV, plots, page."""

from __future__ import annotations

from pathlib import Path

from nemo_model.comparison import csvfile
from nemo_model.comparison.cells import make_cells
from nemo_model.comparison.config import as_yaml
from nemo_model.comparison.examples import make_examples
from nemo_model.comparison.plan import Plan
from nemo_model.comparison.plots import make_plots
from nemo_model.comparison.report import make_report, markdown
from nemo_model.comparison.runner import Outcome, Parts
from nemo_model.comparison.store import Store, write_bytes, write_text
from nemo_model.comparison.webpage import webpage


def write_report(plan: Plan, store: Store, outcome: Outcome, threads: int) -> tuple[Path, str]:
    """Write OUT/KIND/ and return it with the Markdown."""
    folder = store.out / plan.config.kind
    cells = make_cells(plan, outcome)
    pictures = make_plots(plan, outcome, cells)
    pictures |= make_examples(plan, outcome, Parts(plan, store), threads)
    report = make_report(plan, outcome, cells, tuple(pictures))
    text = markdown(report)
    write_text(folder / "config.yaml", as_yaml(plan.config))
    write_text(folder / "table.csv", csvfile.text(plan, outcome, cells))
    for name, content in pictures.items():
        write_bytes(folder / "plots" / name, content)
    write_text(folder / "report.html", webpage(report, pictures))
    write_text(folder / "report.md", text)
    return folder, text
