# SPDX-License-Identifier: Apache-2.0
"""A set's files in the layout of PASCAL3D+, with depths and masks beside it.

Images|Annotations|Masks|Depth/<category>_synth/NAME.jpg|.mat|.png|.png. The same content gives the
same bytes; no file is left half written.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from nemo_model.mesh import Mesh
from nemo_model.synth.draw import Drawing
from nemo_model.synth.scene import View

Array = npt.NDArray[np.float64]

SOURCE = "synth"
DEPTH_UNIT = 1e-4
"""Object units per grey level of the 16 bit depth images; 0: not the object."""
QUALITY = 92
_HEADER = b"MATLAB 5.0 MAT-file, written by nemo synth".ljust(116)


def annotation_path(root: Path, category: str, name: str) -> Path:
    """The last file of an image to be written: where it is, all are."""
    return root / "Annotations" / f"{category}_{SOURCE}" / f"{name}.mat"


def write_image(
    root: Path, category: str, name: str, drawing: Drawing, view: View, box: Array, cad_index: int,
    extra: dict[str, object],
) -> None:  # fmt: skip
    """Write the four files of one image.

    Args:
        box: (4,) of the whole object in pixels from 0, perhaps jittered; cut at the edge here.
        cad_index: from 1.
        extra: further fields of the object.
    """
    folder = f"{category}_{SOURCE}"
    jpeg = _encoded(".jpg", drawing.image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    _write(root / "Images" / folder / f"{name}.jpg", jpeg)
    mask = drawing.mask.astype(np.uint8) * 255
    _write(root / "Masks" / folder / f"{name}.png", _encoded(".png", mask))
    depth = np.clip(np.rint(drawing.depth / DEPTH_UNIT), 0, 65535).astype(np.uint16)
    _write(root / "Depth" / folder / f"{name}.png", _encoded(".png", depth))
    record = {
        "filename": f"{name}.jpg",
        "imgsize": [float(view.width), float(view.height), 3.0],
        "objects": _object(category, view, box, cad_index, extra),
    }
    data = io.BytesIO()
    savemat(data, {"record": record})
    raw = data.getvalue()
    _write(annotation_path(root, category, name), _HEADER + raw[len(_HEADER) :])  # without a date


def _object(
    category: str, view: View, box: Array, cad_index: int, extra: dict[str, object]
) -> dict[str, object]:
    last = np.array([view.width, view.height, view.width, view.height]) - 1.0
    inside = np.clip(box, 0.0, last)
    degrees = {k: float(np.degrees(getattr(view, k))) for k in ("azimuth", "elevation", "theta")}
    return {
        "class": category,
        "bbox": inside + 1.0,
        "cad_index": float(cad_index),
        "truncated": float(bool((np.abs(inside - box) > 0.5).any())),
        "occluded": 0.0,
        "difficult": 0.0,
        "viewpoint": degrees | {
            "azimuth_coarse": degrees["azimuth"],
            "elevation_coarse": degrees["elevation"],
            "distance": view.distance,
            "focal": 1.0,
            "viewport": float(view.K[0, 0]),
            "px": float(view.K[0, 2]) + 1.0,
            "py": float(view.K[1, 2]) + 1.0,
        },
    } | extra  # fmt: skip


def write_off(path: Path, mesh: Mesh) -> None:
    """Write a mesh as an OFF file."""
    lines = ["OFF", f"{len(mesh.vertices)} {len(mesh.faces)} 0"]
    lines += [" ".join(f"{v:.6g}" for v in vertex) for vertex in mesh.vertices]
    lines += [f"3 {a} {b} {c}" for a, b, c in mesh.faces]
    _write(path, ("\n".join(lines) + "\n").encode())


def write_list(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, a line each."""
    _write(path, "".join(f"{line}\n" for line in lines).encode())


def _encoded(suffix: str, image: npt.NDArray[np.generic], options: list[int] | None = None
             ) -> bytes:  # fmt: skip
    return bytes(cv2.imencode(suffix, np.ascontiguousarray(image), options or [])[1])


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(data)
    os.replace(partial, path)
