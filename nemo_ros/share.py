# SPDX-License-Identifier: Apache-2.0
"""Where the package's launch files, configuration and models are installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nemo_model.errors import NemoError

PACKAGE = "nemo_ros"


def share() -> Path:
    """The folder share/nemo_ros: of the first ament prefix that has it, else of this environment.

    Raises:
        NemoError: when the package is not installed.
    """
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in [*prefixes, sys.prefix]:
        folder = Path(prefix) / "share" / PACKAGE
        if (folder / "config").is_dir():
            return folder
    raise NemoError(f"share/{PACKAGE} is nowhere below {sys.prefix}: call make setup")
