# SPDX-License-Identifier: Apache-2.0
"""Believable materials in the place of those that the models' files have."""

from __future__ import annotations

from typing import Any

from maker import materials
from maker.timeline import Placement


def surfaces(placement: Placement) -> dict[str, Any]:
    """Return the material that replaces each material of the model; others stay as they are."""
    if placement.paint is not None:
        return _car(placement, placement.paint)
    if placement.model == "white_kitchen_table":
        laminate = materials.plain("laminate", (0.62, 0.61, 0.58), 0.35, coat=0.3)
        return {"1_1": laminate}
    return {}


def _car(placement: Placement, paint: materials.Colour) -> dict[str, Any]:
    black = materials.plain("black plastic", (0.012, 0.012, 0.013), 0.45)
    gloss = materials.plain("black gloss", (0.008, 0.008, 0.009), 0.12, coat=1.0)
    rubber = materials.plain("rubber", (0.014, 0.014, 0.014), 0.75)
    chrome = materials.plain("chrome", (0.75, 0.75, 0.76), 0.08, metallic=1.0)
    alloy = materials.plain("alloy", (0.55, 0.56, 0.57), 0.28, metallic=1.0)
    dark = materials.plain("dark metal", (0.12, 0.12, 0.125), 0.35, metallic=0.9)
    inside = materials.plain("interior", (0.02, 0.02, 0.021), 0.8)
    lens = materials.glass("lens", (0.85, 0.87, 0.88), 0.02)
    window = materials.glass("window", (0.20, 0.24, 0.23), 0.05)
    red = materials.glass("red lens", (0.55, 0.01, 0.01), 0.03)
    amber = materials.plain("amber reflector", (0.75, 0.28, 0.03), 0.2, metallic=0.6)
    body = materials.paint(f"{placement.model} paint", paint)
    if placement.model == "focus":
        return {
            "carPaint": body, "black_glossy": gloss, "black_rubber": rubber, "chrome": chrome,
            "chrome_dark": dark, "chrome_matte": alloy, "glass": window, "glass_red": red,
            "gray_darkMatte": black, "yellow_chrome": amber, "lens": lens,
        }  # fmt: skip
    return {
        "firstcolor": body, "glass": window, "tires": rubber, "chromes": chrome,
        "blackplastics": black, "interior": inside, "lowparts": black, "holes": inside,
        "doorlines": inside, "sweethome3d_window_mirror": chrome,
    }  # fmt: skip
