# SPDX-License-Identifier: Apache-2.0
"""The report as one web page; pictures are inside it."""

from __future__ import annotations

import html
from collections.abc import Mapping

from nemo_model.comparison.report import Block, Report
from nemo_model.page import page, picture


def webpage(report: Report, pictures: Mapping[str, bytes]) -> str:
    """The page. Raises KeyError where a block names a picture that is not there."""
    parts = [_problems(report), *(_section(block, pictures) for block in report.blocks)]
    return page(report.title, "".join(parts))


def _problems(report: Report) -> str:
    if not report.problems:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in report.problems)
    return f'<section class="loss"><h2>Not complete</h2><ul>{items}</ul></section>'


def _section(block: Block, pictures: Mapping[str, bytes]) -> str:
    text = "".join(f"<p>{html.escape(each)}</p>" for each in block.text)
    images = "".join(
        f'<figure><img class="plot" alt="{html.escape(name)}" '
        f'src="{picture("png", pictures[name])}"><figcaption>{html.escape(name)}</figcaption>'
        "</figure>"
        for name in block.pictures
    )
    return f"<section><h2>{html.escape(block.title)}</h2>{text}{_table(block)}{images}</section>"


def _table(block: Block) -> str:
    if not block.rows:
        return ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.rows[0])
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in block.rows[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
