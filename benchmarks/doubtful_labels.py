# SPDX-License-Identifier: Apache-2.0
"""Names of photos whose label a trained model contradicts although it was trained on them.

    nemo evaluate --model models/car --root stanford_cars3d --split train-fit --protocol paper \\
        --json fit.json
    python benchmarks/doubtful_labels.py fit.json > config/stanford_doubtful_labels.txt

A label is doubtful when the estimate, given centre and distance, is off by more than 30 degrees and
yet sure of itself. By eye many of these labels take the front for the rear; some are right, which
costs a few photos. `nemo train --leave-out FILE` trains without them. Never apply it to photos that
a figure is reported on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from nemo_model.errors import NemoError

GROSS_DEG = 30.0
SURE = 0.5


def doubtful(document: dict[str, object]) -> list[str]:
    """Names in the order of a `nemo evaluate --json` document."""
    images = document.get("images")
    if not isinstance(images, list):
        raise NemoError("is not a result of nemo evaluate: no list 'images'")
    return [
        str(one["name"])
        for one in images
        if one["rotation_error_deg"] > GROSS_DEG and one["score"] >= SURE
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, help="JSON of nemo evaluate on the training photos")
    path = parser.parse_args(argv).results
    try:
        names = doubtful(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as error:
        print(f"doubtful_labels: error: {path}: {error}", file=sys.stderr)
        return 2
    print("\n".join(names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
