# SPDX-License-Identifier: Apache-2.0
"""Errors a user can act on."""

from __future__ import annotations


class NemoError(ValueError):
    """Bad input, with a message that names the file, the field and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
