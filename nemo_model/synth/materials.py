# SPDX-License-Identifier: Apache-2.0
"""What surfaces are made of: MTL files, and textures packed into one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from nemo_model.errors import NemoError

TEXTURE_SIDE = 512
"""Textures are made smaller until their longer side has at most so many pixels."""


@dataclass(frozen=True)
class Material:
    """colour: sRGB in [0, 1]; specular in [0, 1]; shininess: Phong's exponent; opacity in [0, 1].

    texture: name of an image file as the model's file gives it; empty: none.
    """

    colour: tuple[float, float, float] = (0.7, 0.7, 0.7)
    specular: float = 0.1
    shininess: float = 20.0
    opacity: float = 1.0
    texture: str = ""

    def with_texture(self, name: str) -> Material:
        """The same surface with another texture."""
        return replace(self, texture=name)


@dataclass(frozen=True)
class Textures:
    """Images one after the other. pixels (N, 4) uint8 sRGB and alpha; shapes (T, 3) int64: where
    each begins, its height and its width."""

    pixels: npt.NDArray[np.uint8]
    shapes: npt.NDArray[np.int64]

    def with_image(self, image: npt.NDArray[np.uint8]) -> Textures:
        """One more, (h, w, 3) RGB, as the last."""
        opaque = np.full_like(image[..., :1], 255)
        rgba = _small(np.concatenate([image, opaque], axis=2))
        shape = np.array([[len(self.pixels), *rgba.shape[:2]]], dtype=np.int64)
        return Textures(
            np.concatenate([self.pixels, rgba.reshape(-1, 4)]), np.concatenate([self.shapes, shape])
        )


def read_mtl(path: Path) -> dict[str, Material]:
    """The materials of an MTL file by name.

    Raises:
        NemoError: naming the file and line, when it cannot be read.
    """
    found: dict[str, Material] = {}
    name, number = "", 0
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines:
            number += 1
            key, _, rest = line.strip().replace("\t", " ").partition(" ")
            words = rest.split()
            if key == "newmtl":
                name = rest.strip()
                found[name] = Material()
            elif name and words:
                found[name] = _changed(found[name], key, words, rest.strip())
    except OSError as error:
        raise NemoError(f"{path}: cannot be read as an MTL file ({error})") from error
    except ValueError as error:
        raise NemoError(f"{path}: line {number}: not a number ({error})") from error
    return found


def _changed(material: Material, key: str, words: list[str], rest: str) -> Material:
    if key == "Kd":
        r, g, b = (min(max(float(x), 0.0), 1.0) for x in words[:3])
        return replace(material, colour=(r, g, b))
    if key == "Ks":
        return replace(material, specular=min(max(float(words[0]), 0.0), 1.0))
    if key == "Ns":
        return replace(material, shininess=max(float(words[0]), 1.0))
    if key in ("d", "Tr"):
        value = min(max(float(words[-1]), 0.0), 1.0)
        return replace(material, opacity=value if key == "d" else 1.0 - value)
    if key == "map_Kd":
        return replace(material, texture=words[-1] if rest.startswith("-") else rest)
    return material


def mtl_of(path: Path) -> dict[str, Material]:
    """The materials of an OBJ, from the files that its `mtllib` lines name; absent ones: none."""
    found: dict[str, Material] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("mtllib"):
                library = path.parent / line.partition(" ")[2].strip()
                if library.is_file():
                    found |= read_mtl(library)
    return found


def find_texture(name: str, folder: Path, root: Path) -> Path | None:
    """An image file beside the model, else the first of that name below `root`; None: not there."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    for path in (folder / name, folder / base):
        if path.is_file():
            return path
    matches = sorted(p for p in root.rglob("*") if p.name.lower() == base.lower() and p.is_file())
    return matches[0] if matches else None


def pack(paths: Sequence[Path]) -> Textures:
    """Read images of one to four channels and pack them.

    Raises:
        NemoError: naming the file that cannot be read.
    """
    parts, shapes, at = [], [], 0
    for path in paths:
        try:
            with Image.open(path) as image:
                rgba = _small(np.asarray(image.convert("RGBA")))
        except (OSError, ValueError, SyntaxError) as error:
            raise NemoError(f"{path}: not a readable image (texture): {error}") from error
        parts.append(rgba.reshape(-1, 4))
        shapes.append((at, *rgba.shape[:2]))
        at += len(parts[-1])
    if not parts:
        return Textures(np.zeros((1, 4), np.uint8), np.zeros((0, 3), np.int64))
    return Textures(np.concatenate(parts), np.array(shapes, dtype=np.int64))


def _small(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = TEXTURE_SIDE / max(rgba.shape[:2])
    if scale < 1.0:
        size = (max(round(rgba.shape[1] * scale), 1), max(round(rgba.shape[0] * scale), 1))
        rgba = np.asarray(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.ascontiguousarray(rgba)
