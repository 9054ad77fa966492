# SPDX-License-Identifier: Apache-2.0
"""AC3D files (.ac) to a triangle soup and its materials.

Format: https://www.inivis.com/ac3d/man/ac3dfileformat.html. A material of the soup is one MATERIAL
line together with one texture. Lines (surface types 1 and 2) are passed over.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError
from nemo_model.sequences.wavefront import Soup, smooth_normals
from nemo_model.synth.materials import Material

Array = npt.NDArray[np.float64]


@dataclass
class _State:
    """What has been read so far. Points are in the file's axes."""

    lines: list[str]
    at: int = 0
    materials: list[tuple[str, Material]] = field(default_factory=list)
    points: list[Array] = field(default_factory=list)
    count: int = 0
    corners: list[tuple[int, int, int]] = field(default_factory=list)
    uv: list[tuple[tuple[float, float], ...]] = field(default_factory=list)
    keys: list[tuple[int, str]] = field(default_factory=list)

    def ended(self) -> bool:
        """Nothing but empty lines is left; they are skipped."""
        while self.at < len(self.lines) and not self.lines[self.at].strip():
            self.at += 1
        return self.at == len(self.lines)

    def next(self) -> list[str]:
        """The words of the next line that is not empty. Raises IndexError at the end."""
        self.ended()
        line = self.lines[self.at]
        self.at += 1
        if '"' not in line:
            return line.split()  # twenty times faster
        try:
            return shlex.split(line)
        except ValueError:  # an odd quote
            return line.replace('"', " ").split()


def read_ac(path: Path, left_out: str = "") -> tuple[Soup, list[Material]]:
    """Read an AC3D file; its axes stay as they are.

    Args:
        path: of the file.
        left_out: a regular expression; objects with a name that it finds something in, and all
            below them, are passed over.

    Raises:
        NemoError: naming the file, when it is not AC3D, cut off or without faces.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise NemoError(f"{path}: cannot be read as an AC3D file ({error})") from error
    if not lines or not lines[0].startswith("AC3D"):
        raise NemoError(f"{path}: does not begin with AC3D")
    state = _State(lines, 1)
    pattern = re.compile(left_out, re.IGNORECASE) if left_out else None
    try:
        while not state.ended():
            words = state.next()
            if words[0] == "MATERIAL":
                state.materials.append(_material(words))
            elif words[0] == "OBJECT":
                _object(state, np.eye(3), np.zeros(3), pattern, True)
    except (IndexError, ValueError) as error:
        raise NemoError(f"{path}: line {state.at}: not AC3D or cut off ({error})") from error
    if not state.corners:
        raise NemoError(f"{path}: holds no face")
    return _soup(state)


def _material(words: list[str]) -> tuple[str, Material]:
    """MATERIAL "name" rgb r g b amb r g b emis r g b spec r g b shi n trans t."""
    at = {word: place for place, word in enumerate(words) if place > 1}

    def numbers(key: str, count: int) -> list[float]:
        return [float(x) for x in words[at[key] + 1 : at[key] + 1 + count]]

    rgb, spec = numbers("rgb", 3), numbers("spec", 3)
    return words[1], Material(
        colour=(rgb[0], rgb[1], rgb[2]),
        specular=min(max(sum(spec) / 3, 0.0), 1.0),
        shininess=numbers("shi", 1)[0],
        opacity=1.0 - min(max(numbers("trans", 1)[0], 0.0), 1.0),
    )


def _object(
    state: _State, turn: Array, shift: Array, left_out: re.Pattern[str] | None, kept: bool
) -> None:
    """Read one object and its children; the line OBJECT is read already."""
    texture, repeat, offset = "", (1.0, 1.0), (0.0, 0.0)
    vertices, base = np.zeros((0, 3)), state.count
    while True:
        words = state.next()
        key = words[0]
        if key == "name" and len(words) > 1:
            kept = kept and not (left_out is not None and left_out.search(words[1]))
        elif key == "data":  # so many characters of free text follow
            rest, size = state.at, int(words[1])
            taken = 0
            while taken < size:
                taken += len(state.lines[rest]) + 1
                rest += 1
            state.at = rest
        elif key == "texture":
            texture = words[1] if len(words) > 1 else ""
        elif key == "texrep":
            repeat = (float(words[1]), float(words[2]))
        elif key == "texoff":
            offset = (float(words[1]), float(words[2]))
        elif key == "loc":
            shift = shift + turn @ np.array([float(x) for x in words[1:4]])
        elif key == "rot":  # row by row, of the transposed matrix
            turn = turn @ np.array([float(x) for x in words[1:10]]).reshape(3, 3).T
        elif key == "numvert":
            rows = [state.next()[:3] for _ in range(int(words[1]))]
            vertices = np.array(rows, dtype=np.float64).reshape(-1, 3) @ turn.T + shift
            if kept and len(vertices):
                state.points.append(vertices)
                state.count += len(vertices)
        elif key == "numsurf":
            for _ in range(int(words[1])):
                _surface(state, texture, repeat, offset, base, len(vertices), kept)
        elif key == "kids":
            for _ in range(int(words[1])):
                if state.ended():  # files are about that promise more children than they have
                    return
                if state.next()[0] != "OBJECT":
                    raise ValueError("a child should begin here")
                _object(state, turn, shift, left_out, kept)
            return


def _surface(
    state: _State, texture: str, repeat: tuple[float, float], offset: tuple[float, float],
    base: int, count: int, kept: bool,
) -> None:  # fmt: skip
    words = state.next()
    kind = int(words[1], 16) & 0xF
    material = 0
    while words[0] != "refs":
        words = state.next()
        if words[0] == "mat":
            material = int(words[1])
        elif words[0] != "refs":
            raise ValueError("a surface's refs should come here")
    refs, uv = [], []
    for _ in range(int(words[1])):
        parts = state.next()
        ref = int(parts[0])
        if not 0 <= ref < count:
            raise ValueError(f"a surface names vertex {ref} of {count}")
        refs.append(ref)
        u, v = (float(parts[1]), float(parts[2])) if len(parts) > 2 else (0.0, 0.0)
        uv.append((offset[0] + u * repeat[0], offset[1] + v * repeat[1]))
    if kind != 0 or not kept:
        return
    for k in range(1, len(refs) - 1):
        state.corners.append((base + refs[0], base + refs[k], base + refs[k + 1]))
        state.uv.append((uv[0], uv[k], uv[k + 1]))
        state.keys.append((material, texture))


def _soup(state: _State) -> tuple[Soup, list[Material]]:
    index = np.array(state.corners, dtype=np.int64)
    points = np.concatenate(state.points)[index]
    known = list(dict.fromkeys(state.keys))
    number = {key: place for place, key in enumerate(known)}
    material = np.array([number[key] for key in state.keys], dtype=np.int32)
    materials, names = [], []
    for place, texture in known:
        name, found = state.materials[place] if place < len(state.materials) else ("", Material())
        materials.append(found.with_texture(texture))
        names.append(f"{name}|{texture}")
    normals = smooth_normals(points, index, material.astype(np.int64))
    soup = Soup(points, normals, np.array(state.uv), material, tuple(names))
    return soup, materials
