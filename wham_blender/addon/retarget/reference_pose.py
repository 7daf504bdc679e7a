"""The pose that a bake takes as a rig's rest: its rest pose, or the pose as it is where nobody could stand at rest.

The rest pose of some motion files has all bones along one axis: it says neither where up is nor how arms hang. The
pose in the file's first frame does. It is kept on the rig, since a bake replaces the pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from .maps import LIMBS, RigMap

AUTO, REST, POSE = "AUTO", "REST", "POSE"  # what may be asked for
_KEPT = "wham_rest_pose"  # custom property of the rig: bone -> quaternion and location
_LEGS_ALONG_TRUNK = -0.3  # cosine between legs and trunk; set by hand: people stand at -1, and squat at -0.5
_LEAST = 0.01  # length of a segment and width of hips and shoulders, of trunk and legs together
_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class ReferencePose:
    """What the channels of bones hold in the pose that counts as rest; bones that are not in it are at rest."""

    rotations: Mapping[str, np.ndarray] = field(default_factory=dict)  # bone -> (4,)
    locations: Mapping[str, np.ndarray] = field(default_factory=dict)  # bone -> (3,) in the bone's axes

    def rotation(self, bone: str) -> np.ndarray:
        """A bone's quaternion (4,)."""
        return self.rotations.get(bone, _IDENTITY)

    def location(self, bone: str) -> np.ndarray:
        """A bone's location (3,)."""
        return self.locations.get(bone, np.zeros(3))

    @property
    def is_rest(self) -> bool:
        """Whether it is the rest pose itself."""
        return not self.rotations


def choose(rig: bpy.types.Object, rig_map: RigMap, asked: str) -> ReferencePose:
    """The reference pose of a rig with a fitted map. ``asked``: AUTO, REST, or POSE for the pose as it is now."""
    if asked == POSE:
        return _current(rig)
    bones = rig.data.bones
    if asked == REST or _can_stand({joint: bones[bone].head_local for joint, bone in rig_map.bones.items()}):
        return ReferencePose()
    if (kept := _kept(rig)) is not None:
        return kept
    poses = rig.pose.bones
    if _can_stand({joint: poses[bone].head for joint, bone in rig_map.bones.items()}):
        return _current(rig)
    return ReferencePose()


def keep(rig: bpy.types.Object, reference: ReferencePose) -> None:
    """Keep a reference pose on its rig, for the next bake."""
    if not reference.is_rest:
        rig[_KEPT] = {  # plain floats: Blender 5 takes NumPy's in a list, and fails in the next call
            bone: [*reference.rotation(bone).tolist(), *reference.location(bone).tolist()]
            for bone in reference.rotations
        }
    elif _KEPT in rig:
        del rig[_KEPT]


def kept_heads(rig: bpy.types.Object) -> dict[str, np.ndarray] | None:
    """Where the heads of bones (3,) are in the pose that an earlier bake has kept, in armature space; or None."""
    if (kept := _kept(rig)) is None:
        return None
    posed: dict[str, Matrix] = {}
    for bone in sorted(rig.data.bones, key=lambda each: len(each.parent_recursive)):
        above = bone.parent
        start = posed[above.name] @ above.matrix_local.inverted_safe() if above else Matrix()
        turned = Matrix.LocRotScale(Vector(kept.location(bone.name)), Quaternion(kept.rotation(bone.name)), None)
        posed[bone.name] = start @ bone.matrix_local @ turned
    return {name: np.array(matrix.translation) for name, matrix in posed.items()}


def _current(rig: bpy.types.Object) -> ReferencePose:
    rotations, locations = {}, {}
    for bone in rig.pose.bones:
        location, rotation, _scale = bone.matrix_basis.decompose()
        rotations[bone.name], locations[bone.name] = np.array(rotation), np.array(location)
    return ReferencePose(rotations, locations)


def _kept(rig: bpy.types.Object) -> ReferencePose | None:
    """The pose that an earlier bake has kept; None if there is none of these bones, or if it is damaged."""
    names = [bone.name for bone in rig.data.bones]
    try:
        values = {bone: np.array(rig[_KEPT][bone], float) for bone in names}
    except (KeyError, TypeError, ValueError):
        return None
    if any(value.shape != (7,) or not np.isfinite(value).all() for value in values.values()):
        return None
    if any(abs(np.linalg.norm(value[:4]) - 1) > 1e-3 for value in values.values()):
        return None
    return ReferencePose(
        {bone: value[:4] for bone, value in values.items()}, {bone: value[4:] for bone, value in values.items()}
    )


def _can_stand(heads: Mapping[str, object]) -> bool:
    """Whether joints (3,) are those of a body that could stand: legs below the trunk, left and right apart."""
    at = {joint: np.array(head, float) for joint, head in heads.items()}
    hips, shoulders, ankles = (
        np.array([at[f"{side}_{part}"] for side in ("left", "right")]) for part in ("hip", "shoulder", "ankle")
    )
    trunk, legs = shoulders.mean(0) - hips.mean(0), ankles.mean(0) - hips.mean(0)
    least = _LEAST * float(np.linalg.norm(trunk) + np.linalg.norm(legs))
    widths = hips[0] - hips[1], shoulders[0] - shoulders[1]
    segments = [at[joints[1]] - at[joints[0]] for joints in LIMBS.values()]
    if min(float(np.linalg.norm(each)) for each in (trunk, legs, *widths, *segments)) <= least:
        return False
    upright = legs @ trunk < _LEGS_ALONG_TRUNK * np.linalg.norm(legs) * np.linalg.norm(trunk)
    return bool(upright and widths[0] @ widths[1] > 0)
