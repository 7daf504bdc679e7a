"""How long Blender takes to bring in a motion of 10,000 frames, after its file was read: ``build.py bench import``.

Large random movements of the bundled body, a moving camera, contacts that switch and are marked. Counted is
the whole operator as a script calls it, with its undo step, less the reading of the file; the best of several times,
since other programs only add to it. Runs in every Blender.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from unittest import mock

import bpy  # first: it brings addon_utils

# isort: split
import numpy as np

from tests.addon.conftest import enabled, make_motion
from tests.bench.report import json_path, report
from wham_blender import motion as motion_file
from wham_blender import weights

FRAMES = 10_000
TIMES = 3


def measure(path: Path) -> tuple[float, float, float]:
    """Seconds that one import takes, of the clock and of the processor, and those of the clock that reading took."""
    bpy.data.batch_remove([*bpy.data.objects, *bpy.data.collections, *bpy.data.actions])
    load, read = motion_file.load, [0.0, 0.0]

    def timed(path: Path) -> list[motion_file.Motion]:
        before = time.perf_counter(), time.process_time()
        people = load(path)
        read[:] = time.perf_counter() - before[0], time.process_time() - before[1]
        return people

    with mock.patch.object(motion_file, "load", timed):
        begun = time.perf_counter(), time.process_time()
        bpy.ops.wham.import_motion("EXEC_DEFAULT", True, filepath=str(path), fps="CLIP")
        wall, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
    if not any(thing.type == "ARMATURE" and thing.wham_motion.frames == FRAMES for thing in bpy.data.objects):
        raise SystemExit("The motion was not imported whole.")
    return wall - read[0], processor - read[1], read[0]


def main() -> None:
    """Measure in this Blender and print one row."""
    asked = json_path(__doc__)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    with np.load(weights.find("body").path, allow_pickle=False) as model:
        body = {name: model[name] for name in model.files}
    with enabled(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.npz")
        motion_file.save(path, [make_motion(body, FRAMES)])
        wall, processor, read = min(measure(path) for _ in range(TIMES))
    title = f"Import of {FRAMES:,} frames, seconds"
    columns = ["Blender", "import", "of the processor", "reading before"]
    report(title, columns, [[bpy.app.version_string, wall, processor, read]], asked)


if __name__ == "__main__":
    main()
