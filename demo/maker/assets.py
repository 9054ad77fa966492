# SPDX-License-Identifier: Apache-2.0
"""The models of the scene; the table is shared with `nemo synth-sequence`."""

from __future__ import annotations

from nemo_model.sequences.assets import ASSETS, Asset, unpack

__all__ = ["ASSETS", "Asset", "unpack"]
