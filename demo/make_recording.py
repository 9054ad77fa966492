#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the recordings of the demo: `render` (needs bpy), then `bag` (the project's environment).

See demo/README.md for the commands. Nobody has to run this to use the demo: its result ships.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))


def _render(args: argparse.Namespace) -> None:
    from maker import render
    from maker.recordings import RECORDINGS

    plan = RECORDINGS[args.scene].plan
    quality = render.Quality(args.percent, args.samples, args.threads)
    sizes = render.build(args.scene, plan, args.cache, quality)
    render.dump_geometry(args.work / "geometry.npz", sizes)
    if args.blend:
        import bpy

        bpy.ops.wm.save_as_mainfile(filepath=str(args.work / "scene.blend"))
    frames = render.coarse_to_fine(list(range(args.first, plan.frames, args.step)))
    render.render(args.work / f"frames_{args.percent}_{args.samples}", plan, frames)


def _bag(args: argparse.Namespace) -> None:
    from maker import bag, truth
    from maker.recordings import RECORDINGS

    recording = RECORDINGS[args.scene]
    table = truth.compute(args.work / "geometry.npz", recording.plan)
    out = args.out or recording.bag
    bag.write(args.work / args.frames, recording.plan, table, out, quality=args.quality)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    render = commands.add_parser("render", help="render the frames with Cycles")
    render.add_argument("--cache", type=Path, required=True, help="as of `nemo synth fetch`")
    render.add_argument("--percent", type=int, default=100, help="of 640x360")
    render.add_argument("--samples", type=int, default=2, help="per pixel, before denoising")
    render.add_argument("--threads", type=int, default=1)
    render.add_argument("--first", type=int, default=0)
    render.add_argument("--step", type=int, default=1, help="render every n-th frame")
    render.add_argument("--blend", action="store_true", help="also save the scene")
    render.set_defaults(run=_render)
    bag = commands.add_parser("bag", help="ground truth, boxes, camera effects, MCAP")
    bag.add_argument("--frames", default="frames_100_2", help="folder of frames inside --work")
    bag.add_argument("--out", type=Path, help="the bag's folder (where it ships)")
    bag.add_argument("--quality", type=int, default=82, help="JPEG quality")
    bag.set_defaults(run=_bag)
    for command in (render, bag):
        command.add_argument("scene", choices=("street", "terrace"))
        command.add_argument("--work", type=Path, required=True, help="folder for what is made")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
