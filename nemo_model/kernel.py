# SPDX-License-Identifier: Apache-2.0
"""How the solver's functions are compiled: fast, and to the same numbers in every process.

Fast arithmetic lets the compiler reorder sums, and it does so anew wherever a function is built
into another. Of the copies that so arise, all of one name, a process calls the one that it happened
to load first: rounding would hang on the order of calls, and on whether functions were compiled or
read from the cache. With forceinline no copy is called: each function means the same everywhere.

The cache knows when the file of a function was changed, not those of its callees nor this one:
remove nemo_model/__pycache__ after a change here.
"""

from __future__ import annotations

import numba

FAST = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, ninf: hostile input must stay harmless

kernel = numba.njit(cache=True, fastmath=FAST, forceinline=True)
"""Decorator of a function of numbers and arrays."""
