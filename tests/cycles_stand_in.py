# SPDX-License-Identifier: Apache-2.0
"""Speaks cycles_worker's protocol without Blender: an even square that the seed colours.

A job whose seed is 13 is answered with an error, one whose seed is 99 not at all.
"""

from __future__ import annotations

import io
import json
import sys

import numpy as np

print(json.dumps({"blender": "0.0.1"}), flush=True)
for line in sys.stdin.buffer:
    with np.load(io.BytesIO(sys.stdin.buffer.read(json.loads(line)["bytes"]))) as job:
        seed, (width, height) = int(job["seed"]), job["size"].tolist()
        shape = (*job["ground_size"].tolist()[::-1], 4) if job["see_ground"] else (0, 0, 4)
        alone = job["albedo"] * (job["sun"][2] * job["sun_colour"] + job["sky"])
    if seed == 99:
        sys.exit("no more light")
    if seed == 13:
        print(json.dumps({"error": "ValueError: thirteen"}), flush=True)
        continue
    ground = np.ones(shape, np.float32)
    ground[..., :3] = 0.5 * alone
    thing = np.full((height, width, 4), (seed % 7) / 10, np.float32)
    thing[..., 3] = 1.0
    data = io.BytesIO()
    np.savez(data, object=thing, ground=ground)
    print(json.dumps({"bytes": data.tell()}), flush=True)
    sys.stdout.buffer.write(data.getvalue())
    sys.stdout.buffer.flush()
