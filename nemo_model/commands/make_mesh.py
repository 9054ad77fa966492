# SPDX-License-Identifier: Apache-2.0
"""Make a category's meshes from its CAD models: one cuboid, one per sub-type, or the CADs."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from nemo_model.datasets.cad import load_cads
from nemo_model.datasets.common import DatasetError
from nemo_model.meshes.make import KINDS, SHARE, make_meshes
from nemo_model.meshes.preview import contact_sheet
from nemo_model.meshes.quality import silhouette_overlap


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cad", type=Path, required=True, metavar="DIR",
                        help="root of PASCAL3D+ or ObjectNet3D, its folder CAD, or a folder with "
                        "CATEGORY/NN.off")  # fmt: skip
    parser.add_argument("--category", required=True)
    parser.add_argument("--kind", default="single-cuboid", choices=KINDS)
    parser.add_argument("--vertices", type=int, default=1000, help="of each mesh, about")
    parser.add_argument("--share", type=float, default=SHARE,
                        help="of the CAD vertices that a cuboid holds per axis")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz",
                        help="a picture is written beside it (.png)")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.npz")


def run(args: argparse.Namespace) -> int:
    if args.out.suffix != ".npz":
        raise DatasetError(f"--out {args.out}: must end in .npz")
    if args.out.exists() and not args.overwrite:
        raise DatasetError(f"{args.out}: is there already; give --overwrite to replace it")
    if not 0.0 < args.share <= 1.0:
        raise DatasetError(f"--share {args.share}: must be above 0 and at most 1")
    if args.vertices < 50:
        raise DatasetError(f"--vertices {args.vertices}: must be at least 50")
    if not args.cad.is_dir():
        raise DatasetError(f"{args.cad}: no such folder of CAD models")
    folders = [args.cad / part / args.category for part in ("CAD/off", "CAD", "off", "")]
    root = args.cad.parent if args.cad.name == "CAD" else args.cad
    cads = load_cads(root, args.category, folders)
    meshes = make_meshes(cads, args.category, args.kind, args.vertices, args.share)
    meshes.save(args.out)
    sheet = args.out.with_suffix(".png")
    if not cv2.imwrite(str(sheet), contact_sheet(meshes)):
        raise DatasetError(f"{sheet}: cannot be written")
    overlaps = {
        number: silhouette_overlap(meshes.of(number).mesh, cad) for number, cad in cads.items()
    }
    for each in meshes.meshes:
        size = " x ".join(f"{length:.3f}" for length in each.mesh.extent)
        name = f"sub-type {each.subtype}" if each.subtype else f"all {len(cads)} CAD models"
        mean = np.mean([overlaps[each.subtype]] if each.subtype else list(overlaps.values()))
        print(
            f"{name}: {len(each.mesh.vertices)} vertices, {len(each.mesh.faces)} faces, {size}, "
            f"silhouettes overlap {mean:.2f}"
        )
    found = list(overlaps.values())
    print(
        f"{args.category} {args.kind}: silhouettes overlap {np.mean(found):.2f} on average, "
        f"{min(found):.2f} to {max(found):.2f}; {args.out}, {sheet}"
    )
    return 0
