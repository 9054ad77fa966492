# SPDX-License-Identifier: Apache-2.0
"""The paper's claims beside what the tables of `nemo table` found here, in one Markdown table.

    python benchmarks/claims.py --results benchmarks/results/tables

reads every */table.csv that is there (any --out of nemo table has them too) and writes
benchmarks/results/claims.md. Of several tables of one kind that of the longest trainings
counts, and of several data sets the one with something for the most claims.
The two columns of figures stand on different data and are never compared with each other; what is
read off is whether the difference between systems points the same way.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nemo_model.comparison import paper
from nemo_model.evaluation.report import table

ROOT = Path(__file__).resolve().parents[1]
Row = Mapping[str, str]
METRICS = ("acc_pi_6", "acc_pi_18")
HEADER = ("claim", "system", "the paper", "here", "behind the first by, pi/6", "pi/18")


@dataclass(frozen=True)
class Claim:
    """One claim: the systems that it is about, in one column of one table.

    titles: the rows of the paper's own table, those of `systems` in their order; empty where the
    paper gives no figure.
    """

    words: str
    kind: str
    column: str
    systems: tuple[str, ...]
    titles: tuple[str, ...] = ()
    paper_column: int = 0


_RIVALS = ("nemo-viewpoint", "nemo", "res50-specific", "starmap")
_RIVAL_TITLES = (
    "NeMo, silhouettes and prior", "NeMo-SingleCuboid", "Res50-Specific", "StarMap",
)  # fmt: skip
_MESHES = ("nemo", "nemo-multi-cuboid", "nemo-cad")
_MESH_TITLES = ("NeMo-SingleCuboid", "NeMo-MultiCuboid", "NeMo (CAD)")
CLAIMS = (
    Claim("unoccluded (L0), level", "occlusion", "L0", _RIVALS, _RIVAL_TITLES, 1),
    Claim("40 to 60 % hidden (L2), ahead", "occlusion", "L2", _RIVALS, _RIVAL_TITLES, 3),
    Claim("60 to 80 % hidden (L3), ahead", "occlusion", "L3", _RIVALS, _RIVAL_TITLES, 4),
    Claim("views not trained on, ahead", "unseen", "unseen", _RIVALS, _RIVAL_TITLES, 1),
    Claim("a cuboid suffices, L0", "mesh", "L0", _MESHES, _MESH_TITLES, 1),
    Claim("a cuboid suffices, L3", "mesh", "L3", _MESHES, _MESH_TITLES, 4),
    Claim("the contrastive terms are needed, L0", "ablation", "L0", ("nemo", "nemo-no-contrast")),
    Claim("the clutter model is needed, L2", "ablation", "L2", ("nemo", "nemo-no-clutter")),
    Claim("the clutter model is needed, L3", "ablation", "L3", ("nemo", "nemo-no-clutter")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table; 2 where there is nothing to write it from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="--out of nemo table")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "claims.md")
    args = parser.parse_args(argv)
    rows = read(args.results)
    if not rows:
        print(f"claims: {args.results}: holds no KIND/table.csv of nemo table", file=sys.stderr)
        return 2
    args.out.write_text(markdown(rows), encoding="utf-8")
    print(f"wrote {args.out}")
    return 0


def read(results: Path) -> list[Row]:
    """The lines of all tables of one data set, of trainings with occluders, protocol paper."""
    found: list[Row] = []
    for path in sorted(results.glob("*/table.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += [
                row
                for row in csv.DictReader(file)
                if row["protocol"] == "paper" and row["occluders_in_training"] == "1"
            ]
    sets = {_data(row): [other for other in found if _data(other) == _data(row)] for row in found}
    return max(sets.values(), key=_claimed, default=[])


def _claimed(rows: Sequence[Row]) -> int:
    """Of how many claims these lines hold something."""
    return sum(bool(claim_rows(claim, rows)) for claim in CLAIMS)


def markdown(rows: Sequence[Row]) -> str:
    """The page."""
    lines = [line for claim in CLAIMS for line in claim_rows(claim, rows)]
    batch = sorted({r["batch"] for r in rows})
    return "\n".join(
        [
            "# The paper's claims",
            "",
            f"pi/6 / pi/18 in %. The paper: {paper.SOURCE.split('. ')[0]}. Here: "
            f"{_data(rows[0])}, trained with occluders, {', '.join(batch)} samples a step; "
            "differences to a claim's first system in points with 95 % intervals (bootstrap over "
            "objects and seeds). The paper has no silhouettes and no prior, see docs/method.md. "
            "The two stand on different data, occluders and backbones: compare within a column.",
            "",
            table(HEADER, lines),
            "",
            "Made by `nemo table` and `python benchmarks/claims.py`, see docs/tables.md.",
            "",
        ]
    )


def claim_rows(claim: Claim, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The lines of a claim, its table's reference first; none where the table is not there."""
    rows = [row for row in rows if (row["kind"], row["column"]) == (claim.kind, claim.column)]
    compared = [row for row in rows if row["system"] in claim.systems]
    longest = max((int(row["steps"]) for row in compared), default=0)
    known = {
        (row["system"], row["metric"]): row
        for row in reversed(rows)  # of several categories their mean comes first, and is taken
        if int(row["steps"]) == longest
    }
    lines = []
    order = sorted(
        range(len(claim.systems)),
        key=lambda k: any(known.get((claim.systems[k], m), {}).get("difference") for m in METRICS),
    )  # the reference has no difference to itself
    for place in order:
        system = claim.systems[place]
        mine = [known.get((system, metric)) for metric in METRICS]
        if any(row is None for row in mine):
            continue
        cells = [row for row in mine if row is not None]
        here = " / ".join(f"{100 * float(row['value']):.1f}" for row in cells)
        title = claim.titles[place] if claim.titles else system
        lines.append(
            (
                claim.words if not lines else "",
                title,
                published(claim, title),
                f"{here} (n = {cells[0]['objects']}, {_trained(cells[0])})",
                *(gap(row) for row in cells),
            )
        )
    return lines


def published(claim: Claim, title: str) -> str:
    """The paper's figure, empty where it gives none."""
    if not claim.titles:
        return ""
    _, lines = paper.TABLES[claim.kind]
    return next((line[claim.paper_column] for line in lines if line[0] == title), "")


def gap(row: Row) -> str:
    """By how many points a system is behind the reference, with its interval."""
    if not row["difference"]:
        return ""
    value, low, high = (
        -100 * float(row[name]) for name in ("difference", "difference_high", "difference_low")
    )
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _data(row: Row) -> str:
    return f"{row['data']}, {row['source']}/{row['split']}"


def _trained(row: Row) -> str:
    count = len(row["seeds"].split())
    return f"{count} seed{'s' * (count > 1)}, {row['steps']} steps"


if __name__ == "__main__":
    sys.exit(main())
