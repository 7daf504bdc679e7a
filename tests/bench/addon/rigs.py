"""Maps and bakes onto character files that people have made: ``build.py bench rigs [--rigs DIR] [--only WORD]``.

DIR, or WHAM_RIGS_DIR, is a folder of .glb, .gltf, .fbx, .bvh, .blend, .dae and .pmx files. Each is imported in a
process of its own, mapped without help and gets a walk and poses of arms and legs. A row tells whether the map is
right, where ``tests/rigs/truth.json`` knows it, and what the bake has done; out/rigs has pictures, source above target.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
_LONGEST = 300.0  # seconds for one file
_MARK = "RIG "  # begins the line with the child's result
_WALK_STEPS, _POSES = 5, 24
_COLUMNS = (
    "file", "bones", "map", "verdict", "limbs", "slip", "skin slip", "typical slip", "ends slip", "free slip", "sole",
    "floats", "toes", "fingers", "few keys", "guess", "bake",
)  # fmt: skip


def main() -> int:
    """Measure all files, print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rigs", default=os.environ.get("WHAM_RIGS_DIR", ""), help="the folder; else WHAM_RIGS_DIR")
    parser.add_argument("--only", default="", help="only files with this in their names")
    parser.add_argument("--json", help="also write the figures there")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(_MARK + json.dumps(_one(Path(asked.one))), flush=True)
        os._exit(0)  # Blender 4.2 as a module crashes at its end after some importers ran
    from tests.bench.report import report
    from tests.rigs import files

    folder = Path(asked.rigs) if asked.rigs else None
    if folder is None or not folder.is_dir():
        print("No folder of characters. Name one with --rigs or in WHAM_RIGS_DIR.")
        return 1
    found = [_child(path) for path in files.find(folder) if asked.only.lower() in path.name.lower()]
    if not found:
        print(f"{folder} has no character files.")
        return 1
    report(
        "Characters: limbs in degrees; of a person's size, slip in mm a frame of what touches the floor (of vertices "
        "that nothing stretches or creases, of all, and the median of all), of the sole's ends, and without Plant Feet "
        "(median), lowest sole and highest planted sole in cm; toes in degrees a frame; finger bones in degrees, keyed "
        "in all frames and with few keys; guess and bake in seconds",
        _COLUMNS,
        [[row.get(column) for column in _COLUMNS] for row in found],
        asked.json,
    )
    for row in found:
        print(f"\n{row['file']}: {row['bones_text']}")
    judged = [row for row in found if row["verdict"] in ("right", "wrong")]
    right = sum(row["verdict"] == "right" for row in judged)
    print(f"\n{right} of the {len(judged)} files that are known are mapped or refused rightly.")
    return 0


def _child(path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", str(path)]
    failed: dict[str, Any] = {"file": path.name, "verdict": "failed", "bones_text": ""}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return failed | {"bones_text": f"took more than {_LONGEST:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not lines:
        return failed | {"bones_text": (done.stderr.strip().splitlines() or ["ended without a word"])[-1]}
    row: dict[str, Any] = json.loads(lines[-1][len(_MARK) :])
    return row


def _one(path: Path) -> dict[str, Any]:
    """Everything about one file, in this process."""
    import bpy

    from tests.addon.conftest import enabled
    from tests.rigs import files
    from wham_blender.errors import CodedError

    row: dict[str, Any] = {"file": path.name, "map": "-", "verdict": "failed", "bones_text": ""}
    with enabled(), tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        try:
            rig = files.load(path)
        except (ValueError, RuntimeError, AttributeError) as error:
            return row | {"verdict": "not imported", "bones_text": str(error).strip()}
        row["bones"] = len(rig.data.bones)
        rig_map = _map(path, rig, row)
        if rig_map is None:
            return row
        try:
            _bake(rig, rig_map, Path(folder), ROOT / "out/rigs" / f"{path.stem}-{bpy.app.version_string[:3]}.png", row)
        except CodedError as error:
            row["bones_text"] += f"\n    Not baked: {error}"
        return row


def _map(path: Path, rig: Any, row: dict[str, Any]) -> Any:
    """The map that the panel would have, or None; adds to the row what it is and whether it is right."""
    from tests.rigs import truth
    from wham_blender.addon.retarget import rig_map_state
    from wham_blender.addon.retarget.maps import MapError

    begun = time.perf_counter()
    rig_map, code = None, ""
    try:
        rig_map_state.load_or_guess(rig)
        rig_map = rig_map_state.from_rows()
    except MapError as error:
        code, row["bones_text"] = error.code, str(error)
    row["guess"] = time.perf_counter() - begun
    faults = truth.faults(path.stem, rig_map, code)
    row["map"] = f"refused: {code}" if rig_map is None else rig_map_state.state().source
    row["verdict"] = "unknown" if faults is None else "wrong" if faults else "right"
    if rig_map is not None:
        sure = {each.bone: rig_map_state.row_confidence(each) for each in rig_map_state.state().bones if each.bone}
        row["sure"] = sure
        mapped = rig_map.mapped_bones()
        row["bones_text"] = ", ".join(f"{joint} {bone} {sure[bone]:.0%}" for joint, bone in mapped.items())
        row["bones_text"] += f", root {rig_map.root}" if rig_map.root else ""
    if faults:
        row["bones_text"] += f"\n    Wrong: {', '.join(faults)}"
    return rig_map


def _bake(rig: Any, rig_map: Any, folder: Path, picture: Path, row: dict[str, Any]) -> None:
    """Bake a walk with planted feet and poses without, measure both, draw the walk and the poses."""
    import bpy

    from tests.rigs import baked, pictures
    from wham_blender.addon.retarget import bake
    from wham_blender.addon.retarget.bake_options import Options
    from wham_blender.addon.scene import character

    baked.keep_vertex_counts(rig)
    source = _source(folder)
    fingers = baked.fingers_of(rig, rig_map)
    for name, plant in (("walk", False), ("walk", True), ("poses", False)):
        _animate(source, name)
        animation = character.read(source)
        begun = time.perf_counter()
        bake.bake(source, rig, rig_map, Options(plant_feet=plant))
        row["bake"] = row.get("bake", 0.0) + time.perf_counter() - begun
        found = baked.measure(source, rig, rig_map, animation)
        if found.limb_angle >= row.get("limbs", 0.0):
            row["limbs"], row["limb"] = found.limb_angle, f"{found.limb} of {name}"
        if plant:
            row |= {"slip": found.slip, "skin slip": found.skin_slip, "typical slip": found.typical_slip}
            row["ends slip"] = found.ends_slip
            row |= {"sole": found.lowest, "floats": found.floats, "toes": found.toe_step}
        elif name == "walk":
            row["free slip"] = found.typical_slip
            continue
        frames = baked.frames_of(animation)
        bpy.context.scene.frame_set(frames[0])
        things = [(source, "pelvis", 1.7), (rig, rig_map.bones["left_hip"], baked.height(rig))]
        chosen = frames[:: max(1, len(frames) // 6)][:6]
        pictures.draw(picture.with_stem(f"{picture.stem}-{name}"), things, chosen)
    if fingers:
        middle = fingers.get("left_middle1") or next(iter(fingers.values()))
        things = [(source, "left_middle1", 1.7), (rig, middle, baked.height(rig))]
        pictures.draw(picture.with_stem(f"{picture.stem}-hands"), things, chosen, close=True)
        row["fingers"] = _largest_finger_angle(source, rig, fingers, frames)
        bake.bake(source, rig, rig_map, Options(plant_feet=False, reduce_keys=True))
        row["few keys"] = _largest_finger_angle(source, rig, fingers, frames)
        row["bones_text"] += f"\n    {len(fingers)} finger bones"
    row["bones_text"] += f"\n    Largest limb angle: {row['limbs']:.2f} degrees, {row['limb']}"


def _largest_finger_angle(source: Any, rig: Any, fingers: dict[str, str], frames: list[int]) -> float:
    import bpy

    from tests.rigs import baked

    largest = 0.0
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        largest = max(largest, baked.finger_angle(source, rig, fingers))
    return largest


def _source(folder: Path) -> Any:
    """An imported character with fingers."""
    from dataclasses import replace

    import bpy
    import numpy as np

    from tests.addon.conftest import make_motion
    from wham_blender import motion as motion_file
    from wham_blender import weights

    with np.load(weights.find("body").path, allow_pickle=False) as model:
        body = {name: model[name] for name in model.files}
    motion = replace(make_motion(body, 2), hand_poses=np.zeros((2, 30, 3)), hand_confidence=np.ones((2, 2)))
    motion_file.save(folder / "walk.npz", [motion])
    for thing in bpy.context.selected_objects:
        thing.select_set(False)
    bpy.ops.wham.import_motion(filepath=str(folder / "walk.npz"), fps="CLIP")
    return next(thing for thing in bpy.context.selected_objects if thing.type == "ARMATURE")


def _animate(source: Any, name: str) -> None:
    """Give the character a walk, or poses in which all limbs and fingers turn and nothing is planted."""
    from dataclasses import replace

    import numpy as np

    from tests.rigs import walks
    from wham_blender import quaternions
    from wham_blender.addon.scene import character
    from wham_blender.skeleton import JOINT_NAMES

    found = character.read(source)
    walk = walks.walk(found.heads[:24], found.feet * [1.0, 1.0, 0.0], _WALK_STEPS, sway=0.04)
    if name == "walk":
        swing = np.sin(np.pi * np.arange(len(walk.frames)) / walks.ROWS)
        for joint, angle in (("left_shoulder", -1.2), ("right_shoulder", 1.2)):
            arms = np.zeros((len(swing), 3))
            arms[:, 1], arms[:, 0] = -angle, 0.4 * swing
            walk.rotations[:, JOINT_NAMES.index(joint)] = quaternions.of_axis_angle(arms)
        character.write(source, _with_fingers(walk, found, np.zeros(len(swing))))
        return
    phase = 2 * np.pi * np.arange(_POSES) / _POSES
    rng = np.random.default_rng(3)
    rotations = np.tile([1.0, 0, 0, 0], (_POSES, 24, 1))
    for joint, most in (
        ("hip", 0.9),
        ("knee", 1.0),
        ("shoulder", 1.2),
        ("elbow", 1.2),
        ("collar", 0.2),
        ("wrist", 0.5),
    ):
        for side in ("left", "right"):
            vectors = most * np.sin(phase[:, None] + rng.uniform(0, 6, 3)) * [1, 0.6, 0.6]
            if joint == "knee":
                vectors = np.abs(vectors) * [1, 0, 0]
            rotations[:, JOINT_NAMES.index(f"{side}_{joint}")] = quaternions.of_axis_angle(vectors)
    for joint in ("pelvis", "spine2", "neck"):
        rotations[:, JOINT_NAMES.index(joint)] = quaternions.of_axis_angle(
            0.3 * np.sin(phase[:, None] + rng.uniform(0, 6, 3))
        )
    still = np.zeros((_POSES, 4), bool)
    posed = replace(
        walk, frames=np.arange(1.0, _POSES + 1), root=np.repeat(walk.root[:1], _POSES, 0), rotations=rotations,
        contacts=still, probabilities=still * 0.0, confidence=np.ones(_POSES), visible=np.ones(_POSES, bool),
    )  # fmt: skip
    character.write(source, _with_fingers(posed, found, phase))


def _with_fingers(motion: Any, found: Any, phase: Any) -> Any:
    """The motion (F rows) with fingers that bend, one after the other, by up to 80 degrees a joint, thumbs by 30.

    ``phase``: (F,) radians; ``found``: the character's animation, with its joints and fingertips at rest.
    """
    from dataclasses import replace

    import numpy as np

    from wham_blender import fingers, quaternions

    upright = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # Blender's axes to SMPL's
    axes = fingers.flexion_axes(found.heads[24:] @ upright.T, found.fingertips @ upright.T) @ upright
    largest = np.radians(np.repeat([80, 80, 80, 80, 30] * 2, 3))
    bend = largest * np.sin((phase[:, None] + 0.5 * (np.arange(30) // 3)) / 2) ** 2
    hands = quaternions.of_axis_angle(bend[..., None] * axes)
    return replace(
        motion, heads=found.heads, fingertips=found.fingertips, hand_confidence=np.ones((len(phase), 2)),
        rotations=np.concatenate([motion.rotations, hands], 1),
    )  # fmt: skip


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
