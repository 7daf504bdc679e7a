"""What a bake gives in scenes as studios have them: ``build.py bench scenes``.

Each case of tests/rigs/scenes.py prepares a rig, which then gets a motion of large rotations, as an action and as an
NLA strip. Measured over all frames: the largest angle between limbs of the imported character and of the rig (legs are
not planted), and the largest distance of the rig's joints from those of a rig that was as new. The last column is what
the bake said. Runs in every Blender.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy  # first: it brings addon_utils

# isort: split
import numpy as np

from tests.addon.conftest import enabled, make_motion
from tests.bench.report import json_path, report
from tests.rigs import make, scenes
from wham_blender import motion as motion_file
from wham_blender import weights
from wham_blender.addon.retarget.bake_all import bake_all
from wham_blender.addon.retarget.bake_options import Options

FRAMES = np.arange(1, 41)


def baked(path: Path, case: str, *, strip: bool) -> tuple[float, np.ndarray, str]:
    """The largest limb angle in degrees, the rig's joints, and what was said."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.wham.import_motion(filepath=str(path), fps="CLIP")
    (source,) = bpy.context.selected_objects
    rig = make.make_rig("mixamo")
    scenes.CASES[case](rig)
    said: list[str] = []
    _, failed = bake_all(
        [(source, rig)], Options(plant_feet=False, nla_strip=strip), lambda _kind, text: said.append(text)
    )
    angle, joints = scenes.measure(source, rig, FRAMES)
    return angle, joints, failed or " ".join(said)


def main() -> None:
    """Measure in this Blender and print a row a case."""
    asked = json_path(__doc__)
    with np.load(weights.find("body").path, allow_pickle=False) as model:
        body = {name: model[name] for name in model.files}
    rows = []
    with enabled(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dance.npz")
        motion_file.save(path, [make_motion(body)])
        plain = baked(path, "plain", strip=False)[1]
        for case in scenes.CASES:
            for strip in (False, True):
                angle, joints, said = baked(path, case, strip=strip)
                off = 1000 * np.linalg.norm(joints - plain, axis=-1).max()
                said = said if len(said) < 160 else said[:160] + "..."
                rows.append([bpy.app.version_string, case, "strip" if strip else "action", angle, off, said])
    report("Bake, limbs in degrees, joints in mm", ["Blender", "case", "to", "limbs", "joints", "said"], rows, asked)


if __name__ == "__main__":
    main()
