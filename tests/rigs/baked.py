"""What a bake has done to a character: angles of its limbs, its soles and its toes, frame by frame. Needs bpy.

Lengths are in metres of a person of the motion's size: a giant's are scaled by the length of its legs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product, zip_longest

import bpy
import numpy as np
from mathutils import Quaternion, Vector

from tests.rigs import files
from wham_blender.addon.retarget import armature as armatures
from wham_blender.addon.retarget import finger_bones
from wham_blender.addon.retarget.maps import LIMBS, RigMap
from wham_blender.animation import Animation
from wham_blender.skeleton import HAND_FINGERS, JOINT_NAMES

_FADE = 12  # frames around a contact in which foot locking may turn a leg
_TOUCHES = 0.005  # metres over the floor: a vertex touches it
_RIGID = 0.95  # of a vertex's weight on bones of the foot: the shin does not stretch it
_CREASE = 0.05  # of the legs' length: so near to each other, what foot and toes carry creases where they bend
_SOLE = 0.012  # of the legs' length: vertices so near to the lowest one are the sole


@dataclass
class Measured:
    """The largest of each, over all frames; None where there is nothing to measure."""

    limb_angle: float  # degrees between limbs of source and target, legs where nothing is planted
    limb: str  # which
    # mm a frame, horizontal, of the vertices that touch the floor in both frames while the foot is planted: of those
    # that only the foot's bones carry and that do not crease, if any; of all; and of all, the median in each frame
    slip: float | None = None
    skin_slip: float | None = None
    typical_slip: float | None = None
    ends_slip: float | None = None  # the same of the mean of the sole's front or back, also where it turns or floats
    lowest: float | None = None  # cm, of the lowest vertex of the feet over the floor
    floats: float | None = None  # cm, the most that the lowest vertex of a planted foot is over the floor
    toe_step: float | None = None  # degrees that toes turn against the foot from frame to frame


def frames_of(animation: Animation) -> list[int]:
    """The frames of a motion, which begin at whole ones."""
    return np.rint(animation.frames).astype(int).tolist()


def measure(source: bpy.types.Object, rig: bpy.types.Object, rig_map: RigMap, animation: Animation) -> Measured:
    """Compare a baked rig with its source in all frames."""
    scene = bpy.context.scene
    scale = leg_length(rig, rig_map) / _source_leg(source)
    feet = [_Foot(rig, rig_map, side) for side in ("left", "right")]
    worst, worst_limb, toe_step, lowest = 0.0, "", 0.0, math.inf
    skins: list[list[np.ndarray]] = [[], []]
    toes: list[list[Quaternion | None]] = [[], []]
    planted = [animation.contacts[:, [2 * side, 2 * side + 1]].any(1) for side in (0, 1)]
    near = [np.convolve(each, np.ones(2 * _FADE + 1), "same") > 0 for each in planted]
    for row, frame in enumerate(frames_of(animation)):
        scene.frame_set(frame)
        for limb, joints in LIMBS.items():
            if limb.endswith("leg") and near[limb.startswith("right")][row]:
                continue
            for start, end in pairwise(joints):
                angle = _angle(source, rig, rig_map, start, end)
                if angle > worst:
                    worst, worst_limb = angle, f"{start} in frame {frame}"
        for side, foot in enumerate(feet):
            toes[side].append(foot.toe_rotation())
            if foot.has_skin:
                points = foot.vertices()
                lowest = min(lowest, float(points[:, 2].min()))
                skins[side].append(points / scale)
    for side in (0, 1):
        for before, after in pairwise(toes[side]):
            if before is not None and after is not None:
                angle = before.rotation_difference(after).angle
                toe_step = max(toe_step, math.degrees(min(angle, 2 * math.pi - angle)))
    measured = Measured(worst, worst_limb, toe_step=toe_step if toes[0][0] is not None else None)
    if any(foot.has_skin for foot in feet):
        measured.lowest = 100 * lowest / scale
        _measure_contacts(measured, feet, [np.array(each) for each in skins], animation)
    return measured


def fingers_of(rig: bpy.types.Object, rig_map: RigMap) -> dict[str, str]:
    """The finger bones of a rig that a bake moves, by their joints."""
    return dict(finger_bones.complete(rig_map, armatures.rest_skeleton(rig)).fingers)


def finger_angle(source: bpy.types.Object, rig: bpy.types.Object, fingers: Mapping[str, str]) -> float:
    """The largest angle in degrees between finger bones of source and rig, in the frame that is shown.

    ``fingers``: as of `fingers_of`. Bones of fingers that have fewer are compared from their joint to the next or to
    the tip.
    """
    largest = 0.0
    for side, finger in product(("left", "right"), HAND_FINGERS):
        joints = [f"{side}_{finger}{number}" for number in (1, 2, 3)]
        chain = [joint for joint in joints if joint in fingers]
        for joint, following in zip_longest(chain, chain[1:]):
            ours, theirs = source.pose.bones[joint], rig.pose.bones[fingers[joint]]
            ends = source.pose.bones[joints[-1]].tail, theirs.tail
            if following is not None:
                ends = source.pose.bones[following].head, rig.pose.bones[fingers[following]].head
            one = source.matrix_world.to_3x3() @ (ends[0] - ours.head)
            other = rig.matrix_world.to_3x3() @ (ends[1] - theirs.head)
            largest = max(largest, math.degrees(one.angle(other)))
    return largest


def leg_length(rig: bpy.types.Object, rig_map: RigMap) -> float:
    """Length of thigh and shin in the world, as the rig is posed: scales that bones have been left with count."""
    heads = [_head(rig, rig_map.bones[joint]) for joint in LIMBS["left_leg"]]
    return sum((after - before).length for before, after in pairwise(heads))


def _source_leg(source: bpy.types.Object) -> float:
    heads = [_head(source, joint) for joint in LIMBS["left_leg"]]
    return sum((after - before).length for before, after in pairwise(heads))


def _head(armature: bpy.types.Object, bone: str) -> Vector:
    return armature.matrix_world @ armature.pose.bones[bone].head


def _angle(source: bpy.types.Object, rig: bpy.types.Object, rig_map: RigMap, start: str, end: str) -> float:
    assert {start, end} <= set(JOINT_NAMES)
    wanted = _head(source, end) - _head(source, start)
    bones = rig_map.bones
    to = _head(rig, bones[end]) if end in bones else rig.matrix_world @ rig.pose.bones[bones[start]].tail
    one, other = np.array(wanted, float), np.array(to - _head(rig, bones[start]), float)
    # not Vector.angle, which has nothing below 0.02 degrees
    return math.degrees(math.atan2(np.linalg.norm(np.cross(one, other)), one @ other))


def _measure_contacts(measured: Measured, feet: list[_Foot], skins: list[np.ndarray], animation: Animation) -> None:
    """What an animator sees of planted feet; skins (F, V, 3) of each foot."""
    slips: dict[str, list[float]] = {"rigid": [], "skin": [], "typical": [], "ends": []}
    floats = [0.0]
    for side, (foot, points) in enumerate(zip(feet, skins, strict=True)):
        if not foot.has_skin:
            continue
        contacts = animation.contacts[:, 2 * side : 2 * side + 2]
        moved = _steps(points)
        touches = points[..., 2] < _TOUCHES
        touches = touches[1:] & touches[:-1] & (contacts[1:] & contacts[:-1]).any(1)[:, None]
        slips["skin"] += moved[touches].tolist()
        slips["rigid"] += moved[touches & foot.rigid].tolist()
        slips["typical"] += [float(np.median(moved[row, touches[row]])) for row in np.flatnonzero(touches.any(1))]
        floats.append(points[contacts.any(1), :, 2].min(1).max(initial=0.0))
        for column, ends in zip(contacts.T, (foot.toe_end, foot.heel_end), strict=True):
            if ends.any():
                slips["ends"] += _steps(points[:, foot.sole[ends]].mean(1))[column[1:] & column[:-1]].tolist()
    measured.slip, measured.skin_slip, measured.typical_slip, measured.ends_slip = (
        1000 * max(each) if each else None for each in slips.values()
    )
    measured.floats = 100 * float(max(floats))


def _steps(points: np.ndarray) -> np.ndarray:
    """Horizontal steps (F-1, ...) of points (F, ..., 3) from frame to frame."""
    return np.linalg.norm(np.diff(points[..., :2], axis=0), axis=-1)


class _Foot:
    """The vertices that a foot's bones carry."""

    def __init__(self, rig: bpy.types.Object, rig_map: RigMap, side: str) -> None:
        self.rig = rig
        self.ankle = rig_map.bones[f"{side}_ankle"]
        self.toes = rig_map.bones.get(f"{side}_foot")
        front = self._with_children(self.toes) if self.toes else set()
        hind = self._with_children(self.ankle) - front
        self.parts: list[tuple[bpy.types.Object, np.ndarray]] = []
        found = [np.zeros((0, 2))]
        for skin in files.skins(rig):
            shares = _shares(skin, (hind, front))
            chosen = np.flatnonzero(shares.sum(1) > 0.5)
            if len(chosen):
                self.parts.append((skin, chosen))
                found.append(shares[chosen])
        shares = np.concatenate(found)
        self.has_skin = bool(self.parts)
        self.sole = self.toe_end = self.heel_end = np.zeros(0, int)
        self.rigid = shares.sum(1) > _RIGID  # (V,) bool, of `vertices`: neither stretched nor creased
        if self.has_skin:
            self._find_sole(rig, rig_map, side)
            self.rigid &= ~self._creased(shares)

    def _with_children(self, bone: str) -> set[str]:
        return {bone, *(child.name for child in self.rig.data.bones[bone].children_recursive)}

    def _creased(self, shares: np.ndarray) -> np.ndarray:
        """Which vertices (V,) foot and toes carry together, or are near to one that the other carries."""
        points, on_toes = self.at_rest, shares[:, 1] > shares[:, 0]
        creased = (shares.min(1) > 1 - _RIGID) & on_toes.any()
        for part in (on_toes, ~on_toes):
            for row in np.flatnonzero(part):
                distances = np.linalg.norm(points[~part] - points[row], axis=1)
                creased[row] |= bool(distances.min(initial=np.inf) < self.crease)
        return creased

    def _find_sole(self, rig: bpy.types.Object, rig_map: RigMap, side: str) -> None:
        before, rig.data.pose_position = rig.data.pose_position, "REST"
        bpy.context.view_layer.update()
        points = self.at_rest = self.vertices()
        world = np.array(rig.matrix_world)

        def rest(joint: str) -> np.ndarray:
            return world[:3, :3] @ np.array(rig.data.bones[rig_map.bones[joint]].head_local) + world[:3, 3]

        up = rest("left_shoulder") + rest("right_shoulder") - rest("left_hip") - rest("right_hip")
        axis = np.argmax(np.abs(up))
        up = np.eye(3)[axis] * np.sign(up[axis]) if abs(up[axis]) > 0.94 * np.linalg.norm(up) else up
        up = up / np.linalg.norm(up)
        left = rest("left_hip") - rest("right_hip")
        front = np.cross(left, up)
        heights, along = points @ up, points @ (front / np.linalg.norm(front))
        self.crease = _CREASE * leg_length(rig, rig_map)  # at rest, as the vertices: a pose may have another scale
        self.sole = np.flatnonzero(heights < heights.min() + _SOLE * leg_length(rig, rig_map))
        low, high = along[self.sole].min(), along[self.sole].max()
        self.toe_end = along[self.sole] > low + 0.6 * (high - low)
        self.heel_end = along[self.sole] < low + 0.4 * (high - low)
        rig.data.pose_position = before
        bpy.context.view_layer.update()

    def vertices(self) -> np.ndarray:
        """The vertices (V, 3) in the world, as they are deformed in this frame."""
        graph = bpy.context.evaluated_depsgraph_get()
        found = []
        for skin, chosen in self.parts:
            evaluated = skin.evaluated_get(graph)
            mesh = evaluated.data
            points = np.empty(3 * len(mesh.vertices), np.float32)
            mesh.vertices.foreach_get("co", points)
            place = np.array(evaluated.matrix_world)
            found.append(points.reshape(-1, 3)[chosen] @ place[:3, :3].T + place[:3, 3])
        return np.concatenate(found)

    def toe_rotation(self) -> Quaternion | None:
        """The toes' rotation against the foot; None without a toe bone."""
        if not self.toes:
            return None
        bones = self.rig.pose.bones
        return (bones[self.ankle].matrix.inverted_safe() @ bones[self.toes].matrix).to_quaternion()


def _shares(skin: bpy.types.Object, parts: tuple[set[str], set[str]]) -> np.ndarray:
    """The shares (V, 2) of the vertices' weights that are on two sets of bones."""
    if skin.parent_type == "BONE":
        return np.tile([float(skin.parent_bone in part) for part in parts], (len(skin.data.vertices), 1))
    names = {group.index: group.name for group in skin.vertex_groups}
    return np.array(
        [[sum(g.weight for g in v.groups if names[g.group] in part) for part in parts] for v in skin.data.vertices]
    ).reshape(-1, 2)


def height(rig: bpy.types.Object) -> float:
    """Height in the world over the floor, of its skin or else of its bones, in the frame that is shown."""
    graph = bpy.context.evaluated_depsgraph_get()
    tops = [(rig.matrix_world @ bone.head).z for bone in rig.pose.bones]
    for skin in files.skins(rig):
        evaluated = skin.evaluated_get(graph)
        tops += [(evaluated.matrix_world @ Vector(corner)).z for corner in evaluated.bound_box]
    return max(tops)


def keep_vertex_counts(rig: bpy.types.Object) -> None:
    """Disable the modifiers of skins that change the number of vertices, so that they can be followed."""
    for skin in files.skins(rig):
        for modifier in skin.modifiers:
            if modifier.type != "ARMATURE":
                modifier.show_viewport = modifier.show_render = False
