# SPDX-License-Identifier: Apache-2.0
"""How often a family finds the right category, and the temperature that its probabilities want.

    python benchmarks/recognition.py --model models/household --family config/household.yaml \
        --roots stanford=DIR synth=DIR --split val --limit 200

Each category of the file that the model has is shown with the boxes of its data; every category is
searched for. Prints whom the objects were taken for, the mean negative log-likelihood of the truth
at the temperature in use, and the temperature at which it would be least.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nemo_model.datasets.common import subset
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.evaluation.samples import from_pascal3d
from nemo_model.recognise import TEMPERATURE
from nemo_model.recogniser import Recogniser
from nemo_model.training.families.config import bound, read_family, root_of

TEMPERATURES = np.geomspace(0.003, 0.3, 41)


def likelihood(gains: np.ndarray, truth: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood of the true categories (N,) under gains (N, C)."""
    logits = gains / temperature
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float(np.mean(total - logits[np.arange(len(truth)), truth]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of the family")
    parser.add_argument("--family", type=Path, required=True, help="its YAML file")
    parser.add_argument("--roots", nargs="+", default=[], metavar="NAME=DIR")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, help="objects of each category")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    recogniser = Recogniser.load(args.model)
    names, roots = recogniser.categories, bound(args.roots)
    gains: list[list[float]] = []
    truth: list[int] = []
    for member in read_family(args.family).categories:
        if member.category not in names:
            continue
        data = Pascal3D(root_of(member, roots), member.category, member.source, args.split)
        shown = subset(from_pascal3d(list(data)), args.limit, args.seed)
        for sample in tqdm(shown, desc=member.category):
            try:
                seen = recogniser.observe(sample.read_image(), sample.K, sample.box)
            except NemoError:  # a box that no crop can be made of
                continue
            found = recogniser.look(seen).gains
            gains.append([found[name] for name in names])
            truth.append(names.index(member.category))
    g, y = np.array(gains), np.array(truth)
    said = g.argmax(axis=1)
    table = np.array([[int(((y == i) & (said == j)).sum()) for j in range(len(names))]
                      for i in range(len(names))])  # fmt: skip
    print("| shown | " + " | ".join(f"as {name}" for name in names) + " | right, % |")
    print("|---" * (len(names) + 2) + "|")
    for name, row, k in zip(names, table.tolist(), range(len(names)), strict=True):
        right = 100.0 * row[k] / max(sum(row), 1)
        print(f"| {name} | " + " | ".join(map(str, row)) + f" | {right:.1f} |")
    losses = [likelihood(g, y, float(t)) for t in TEMPERATURES]
    best = float(TEMPERATURES[int(np.argmin(losses))])
    print(f"right: {100.0 * float((said == y).mean()):.1f} % of {len(y)}; negative log-likelihood "
          f"{likelihood(g, y, TEMPERATURE):.3f} at T = {TEMPERATURE}, least {min(losses):.3f} at "
          f"T = {best:.3f}")  # fmt: skip
    if args.json is not None:
        args.json.write_text(json.dumps({
            "categories": names, "confusion": table.tolist(), "temperature": TEMPERATURE,
            "nll": likelihood(g, y, TEMPERATURE), "best_temperature": best, "best_nll": min(losses),
        }, indent=1) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
