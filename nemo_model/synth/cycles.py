# SPDX-License-Identifier: Apache-2.0
"""Pictures by Blender's Cycles: the same scene as draw.draw shows, with light that is traced.

Mask and depth are draw's. Cycles gives the colours and the opacity of the object, with its shadow
on the ground, what it takes of the ground's light, and mirror images of the surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError
from nemo_model.synth.cycles_process import Arrays, release, worker
from nemo_model.synth.draw import Drawing, draw, scaled, to_linear, to_srgb, window_of
from nemo_model.synth.light import Lights
from nemo_model.synth.model import OPACITY, RED, SHININESS, SPECULAR, TEXTURE, Model

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

VERSION = 1
"""Of what the pictures look like: roots of another one are not gone on with."""
BRIGHTEST = 1.2
"""Times its own light that the ground gets at most where the object throws light on it."""


@dataclass(frozen=True)
class Cycles:
    """python: an interpreter that has bpy. samples: light paths per pixel, half as
    many for the ground. threads: of Cycles.
    """

    python: Path
    samples: int = 16
    threads: int = 1

    def __post_init__(self) -> None:
        if self.samples < 1 or self.threads < 1:
            raise NemoError("Cycles: samples and threads must be at least 1")

    def record(self) -> dict[str, object]:
        """What decides the pictures, for the set's settings; starts Blender.

        Raises:
            NemoError: when the interpreter cannot be run or has no bpy.
        """
        blender = worker(self.python).blender
        return {"name": "cycles", "version": VERSION, "samples": self.samples, "blender": blender}

    def close(self) -> None:
        """End Blender; the next picture starts it again."""
        release()

    def draw(
        self, model: Model, T_cam_obj: Array, K: Array, background: Image, lights: Lights,
        shadow: float, exposure: float, seed: int,
    ) -> Drawing:  # fmt: skip
        """See draw.draw; seed: of the light paths.

        Raises:
            NemoError: when Cycles fails.
        """
        drawing = draw(model, T_cam_obj, K, background, lights, shadow, exposure)
        height, width = background.shape[:2]
        hull = model.hull @ T_cam_obj[:3, :3].T + T_cam_obj[:3, 3]
        seen = window_of(hull, K, width, height)
        if seen is None:
            return drawing
        options = {"samples": self.samples, "threads": self.threads, "seed": seed}
        arrays = job(model, T_cam_obj, K, (width, height), seen, lights, shadow > 0.0)
        found = worker(self.python).ask(arrays | {k: np.array(v) for k, v in options.items()})
        scene = to_linear(background)
        if found["ground"].size:
            left = lit_share(found["ground"], arrays["albedo"], lights)
            left = np.asarray(cv2.resize(left, (width, height), interpolation=cv2.INTER_LINEAR))
            scene *= 1.0 - shadow + shadow * left
        x, y, w, h = seen
        part = scene[y : y + h, x : x + w]
        part *= 1.0 - np.clip(found["object"][..., 3:], 0.0, 1.0)
        part += exposure * np.maximum(found["object"][..., :3], 0.0)
        return replace(drawing, image=to_srgb(scene))


def job(
    model: Model, T_cam_obj: Array, K: Array, size: tuple[int, int],
    seen: tuple[int, int, int, int], lights: Lights, with_ground: bool,
) -> Arrays:  # fmt: skip
    """What cycles_worker takes, but for samples, threads and seed.

    Args:
        size: of the picture. seen: x, y, width, height of the object's part of it.
    """
    eye = -T_cam_obj[:3, :3].T @ T_cam_obj[:3, 3]
    points, normals, uv = facing(model.points, model.normals, model.uv, eye)
    floor = float(model.points[..., 2].min())
    x, y, w, h = seen
    down = float(lights.sun[2])
    albedo = lights.ground / np.maximum(down * lights.sun_colour + lights.sky, 1e-6)
    return {
        "points": points.astype(np.float32), "normals": normals.astype(np.float32),
        "uv": uv.astype(np.float32), "material": model.material, "table": surfaces(model.table),
        "pixels": _linear_texels(model.textures.pixels), "shapes": model.textures.shapes,
        "sun": lights.sun, "sun_colour": lights.sun_colour, "sky": lights.sky,
        "ground": lights.ground, "surroundings": lights.surroundings, "T_cam_obj": T_cam_obj,
        "K": K - np.array([[0.0, 0.0, x], [0.0, 0.0, y], [0.0, 0.0, 0.0]]),
        "size": np.array([w, h]), "ground_K": scaled(K, 0.5),
        "ground_size": np.array([-(-size[0] // 2), -(-size[1] // 2)]), "floor": np.array(floor),
        "albedo": np.clip(albedo, 0.02, 0.9), "with_ground": np.array(with_ground),
        "see_ground": np.array(with_ground and eye[2] > floor),
    }  # fmt: skip


def facing(points: Array, normals: Array, uv: Array, eye: Array) -> tuple[Array, Array, Array]:
    """Triangles (F, 3, 3) turned to the eye (3,), their normals with them, as light.shade does it.

    Corners' normals that lean to the other side of their face become the face's: a path tracer
    would draw them black. Returns points, normals (F, 3, 3) and uv (F, 3, 2), corners reordered.
    """
    across = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    away = ((eye - points[:, 0]) * across).sum(axis=1) < 0.0
    across[away] *= -1.0
    order = np.where(away[:, None], [0, 2, 1], [0, 1, 2])[..., None]
    points, normals, uv = (np.take_along_axis(a, order, axis=1) for a in (points, normals, uv))
    behind = (normals.sum(axis=1) * across).sum(axis=1) < 0.0
    normals = np.where(behind[:, None, None], -normals, normals)
    leaning = (normals * across[:, None]).sum(axis=2) < 0.05
    return points, np.where(leaning[..., None], across[:, None], normals), uv


def surfaces(table: Array) -> Array:
    """Materials (M, 8) as cycles_worker takes them, from Model.table.

    Phong's exponent n becomes the roughness with as wide a highlight: alpha^2 = 2 / (n + 2) (Walter
    et al., Microfacet Models for Refraction through Rough Surfaces, 2007), roughness^2 = alpha. At
    right angles the specular layer reflects 4 % of the specular share and the coat 8 %: together as
    much as in light.shade.
    """
    specular = np.clip(table[:, SPECULAR], 0.0, 1.0)
    return np.column_stack(
        [
            table[:, RED : RED + 3],
            (2.0 / (table[:, SHININESS] + 2.0)) ** 0.25,
            0.5 * specular,  # 1 reflects 8 %
            specular,
            table[:, OPACITY],
            table[:, TEXTURE],
        ]
    )


def lit_share(ground: npt.NDArray[np.float32], albedo: Array, lights: Lights) -> Array:
    """(h, w, 3): the light on the ground (h, w, 4) as a share of what it gets without an object."""
    alone = albedo * (lights.sun[2] * lights.sun_colour + lights.sky)
    share = ground[..., :3] / np.maximum(alone, 1e-6) + (1.0 - ground[..., 3:])
    return np.asarray(np.clip(share, 0.0, BRIGHTEST), dtype=np.float64)


def _linear_texels(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """sRGB and alpha (N, 4) to linear light and alpha."""
    texels = pixels.astype(np.float32) / np.float32(255.0)
    texels[:, :3] **= np.float32(2.2)
    return texels
