"""How long a motion of 1,000 frames takes onto a rig: ``build.py bench bake``.

A walk, planted feet and all, onto a rig of Mixamo's size and onto a generated Rigify rig, also as few keys. Counted is
the whole operator as a script calls it, with its undo step; the best of several times, since other programs only add
to it. Runs in every Blender.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import bpy  # first: it brings addon_utils

# isort: split
import numpy as np

from tests.addon.conftest import enabled, make_motion
from tests.bench.report import json_path, report
from tests.rigs import make, walks
from wham_blender import motion as motion_file
from wham_blender import weights
from wham_blender.addon.scene import character

FRAMES = 1_000
TIMES = 3


def walking(folder: Path) -> bpy.types.Object:
    """An imported character that walks."""
    with np.load(weights.find("body").path, allow_pickle=False) as model:
        body = {name: model[name] for name in model.files}
    motion_file.save(folder / "walk.npz", [make_motion(body, 2)])
    bpy.ops.wham.import_motion(filepath=str(folder / "walk.npz"), fps="CLIP")
    (source,) = bpy.context.selected_objects
    found = character.read(source)
    feet = found.feet * [1.0, 1.0, 0.0]
    steps = -(-FRAMES // walks.ROWS)
    character.write(source, walks.walk(found.heads, feet, steps, sway=0.04))
    character.trim(source, 1, FRAMES)
    return source


def measure(source: bpy.types.Object, rig: bpy.types.Object, keying: str) -> tuple[float, float]:
    """Seconds that one bake takes, of the clock and of the processor."""
    for thing in bpy.context.selected_objects:
        thing.select_set(False)
    source.select_set(True)
    rig.select_set(True)
    bpy.context.view_layer.objects.active = rig
    begun = time.perf_counter(), time.process_time()
    if bpy.ops.wham.bake_to_rig("EXEC_DEFAULT", True, keying=keying) != {"FINISHED"}:
        raise SystemExit(f"The motion was not baked onto {rig.name}.")
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def main() -> None:
    """Measure in this Blender and print a row a rig."""
    asked = json_path(__doc__)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    rows = []
    with enabled(), tempfile.TemporaryDirectory() as folder:
        source = walking(Path(folder))
        for kind in ("mixamo", "rigify"):
            rig = make.make_rig(kind, legs=0.8)
            for keying in ("ALL", "FEW"):
                wall, processor = min(measure(source, rig, keying) for _ in range(TIMES))
                rows.append([bpy.app.version_string, kind, len(rig.data.bones), keying, wall, processor])
    columns = ["Blender", "rig", "bones", "keys", "bake", "of the processor"]
    report(f"Bake of {FRAMES:,} frames, seconds", columns, rows, asked)


if __name__ == "__main__":
    main()
