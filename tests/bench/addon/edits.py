"""How long the edits of a character of 10,000 frames take, with and without fingers: ``build.py bench edits``.

Counted is the operator as a script calls it, without its undo step: that is Blender's own. Processor seconds, the best
of several times, since other programs only add to them; before each, the character gets its imported motion back.
Runs in every Blender. The motion is no walk: *Trim to Motion* and cycles between steps are not measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bpy  # first: it brings addon_utils

# isort: split
import numpy as np

from tests.addon.conftest import enabled, make_motion
from tests.bench.report import json_path, report
from wham_blender import motion as motion_file
from wham_blender import weights
from wham_blender.addon.scene import character
from wham_blender.animation import Animation

FRAMES = 10_000
TIMES = 3


def pin() -> None:
    """Pose one bone in the middle, and pin it."""
    bpy.context.scene.frame_set(FRAMES // 2)
    bone = bpy.context.view_layer.objects.active.pose.bones["left_shoulder"]
    bone.rotation_quaternion = bone.rotation_quaternion.inverted()
    bpy.context.view_layer.update()
    bpy.ops.wham.pin_pose(falloff=24)


# Scaling the character comes last: its imported motion is of its first size.
EDITS: dict[str, Callable[[], object]] = {
    "pin_pose": pin,
    "distrust_frames": lambda: bpy.ops.wham.distrust_frames(first=4000, last=4030),
    "swap_sides": lambda: bpy.ops.wham.swap_sides(first=3000, last=3030, part="LOWER"),
    "plant_again": lambda: bpy.ops.wham.plant_again(),
    "smooth_motion": lambda: bpy.ops.wham.smooth_motion(),
    "mark_contacts": lambda: bpy.ops.wham.mark_contacts(threshold=0.6),
    "trim_motion": lambda: bpy.ops.wham.trim_motion(first=100, last=9900),
    "loop_motion, 60 frames": lambda: bpy.ops.wham.loop_motion(first=4000, last=4071, blend=12),
    "loop_motion, all frames": lambda: bpy.ops.wham.loop_motion(first=100, last=9900, blend=12),
    "turn_motion": lambda: bpy.ops.wham.turn_motion(angle=1.0),
    "move_motion": lambda: bpy.ops.wham.move_motion(start="ORIGIN", offset=(0, 2, 0)),
    "set_floor": lambda: bpy.ops.wham.set_floor(),
    "reduce_keys": lambda: bpy.ops.wham.reduce_keys(),
    "set_actor_height": lambda: bpy.ops.wham.set_actor_height(height=1.8),
}


def seconds(edit: Callable[[], object], imported: Animation) -> float:
    """Processor seconds of one edit of the active character, whose motion is as imported."""
    character.write(bpy.context.view_layer.objects.active, imported)
    begun = time.process_time()
    edit()
    return time.process_time() - begun


def main() -> None:
    """Measure in this Blender and print one row for each edit."""
    asked = json_path(__doc__)
    with np.load(weights.find("body").path, allow_pickle=False) as model:
        body = {name: model[name] for name in model.files}
    motion = make_motion(body, FRAMES)
    hand_poses = 0.3 * np.sin(np.arange(FRAMES)[:, None] / 9 + np.arange(90)).reshape(FRAMES, 30, 3)
    fingers = replace(motion, hand_poses=hand_poses, hand_confidence=np.ones((FRAMES, 2)))
    times: dict[str, list[float]] = {}
    with enabled(), tempfile.TemporaryDirectory() as folder:
        for person in (motion, fingers):
            bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
            path = Path(folder, "long.npz")
            motion_file.save(path, [person])
            bpy.ops.wham.import_motion(filepath=str(path), fps="CLIP")
            imported = character.read(bpy.context.view_layer.objects.active)
            for name, edit in EDITS.items():
                times.setdefault(name, []).append(min(seconds(edit, imported) for _ in range(TIMES)))
    rows = [[bpy.app.version_string, name, *values] for name, values in times.items()]
    report(f"Edits of {FRAMES:,} frames, processor seconds", ["Blender", "edit", "body", "with fingers"], rows, asked)


if __name__ == "__main__":
    main()
