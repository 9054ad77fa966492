# SPDX-License-Identifier: Apache-2.0
"""Fixtures for every test: data that is shared between checkouts, and the repository itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with data that is not part of the repository; skips where there is none.

    The environment variable NEMO_SHARED_DATA names it, else ``../shared/data`` beside the
    checkout is taken. A file inside it may be absent: test for the file that you need.
    """
    named = os.environ.get("NEMO_SHARED_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data: {folder} is not a folder (set NEMO_SHARED_DATA)")
    return folder
