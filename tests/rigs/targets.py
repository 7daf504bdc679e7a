"""Test rigs as retargeting Targets, without Blender. NumPy only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tests.rigs import skeletons
from wham_blender import quaternions
from wham_blender.addon.retarget import foot_geometry, maps
from wham_blender.addon.retarget.transfer import Pose, Space, Target


def target(kind: str, legs: float = 1.0, matrix: np.ndarray | None = None, toes: bool = True) -> Target:
    """The skeleton of a kind with legs and feet scaled about the hips, as an object with that matrix (4, 4)."""
    rows = skeletons.read(kind)
    parents = {row.name: row.parent for row in rows}
    fitted = maps.fit(maps.shipped()[kind], parents)
    if not toes:
        fitted = maps.without(fitted, [fitted.bones[f"{side}_foot"] for side in ("left", "right")])

    def above(name: str) -> list[str]:
        return [name, *above(parents[name])] if name else []

    ends = {row.name: np.array([row.head, row.tail]) for row in rows}
    tops = [fitted.bones[f"{side}_hip"] for side in ("left", "right")]
    hips = {top: ends[top][0].copy() for top in tops}
    for name in ends:
        top = next((top for top in tops if top in above(name)), "")
        if top:
            ends[name] = hips[top] + legs * (ends[name] - hips[top])
        if top or ends[name][0, 2] > 0.2:
            ends[name] = ends[name] + [0.0, 0.0, (legs - 1) * hips[tops[0]][2]]
    inside = {
        twist
        for joints in maps.LIMBS.values()
        for joint, following in pairwise(joints)
        for twist in fitted.twists.get(joint, ())
        if following in fitted.bones and twist in above(fitted.bones[following])
    }
    space = Space.of_matrix(np.eye(4) if matrix is None else matrix)
    heads, tails = ({name: space.from_armature(both[at]) for name, both in ends.items()} for at in (0, 1))
    made = Target(fitted, space, heads, tails, np.zeros((4, 3)), frozenset(inside))
    return foot_geometry.with_feet(made, {}, {}, {})


def spread(made: Target, pose: Pose) -> np.ndarray:
    """Offsets (F, 2, 3) of both hips from their midpoint."""
    hips = np.array([made.joint(f"{side}_hip") for side in ("left", "right")])
    rotations = pose.rotations[made.rig_map.bones["pelvis"]]
    return np.stack([quaternions.rotate(rotations, hip - hips.mean(0)) for hip in hips], 1)


def leg(made: Target, pose: Pose, side: str) -> dict[str, np.ndarray]:
    """Points of a leg (F, 3) in the world: joints, and the foot points that touch the floor at rest."""
    bones, number = made.rig_map.bones, ("left", "right").index(side)
    foot, toes = bones[f"{side}_ankle"], bones.get(f"{side}_foot", bones[f"{side}_ankle"])
    points = {"hip": pose.hips + spread(made, pose)[:, number]}
    points["knee"] = points["hip"] + made.limb_vector(f"{side}_hip", pose.rotations)
    points["ankle"] = points["knee"] + made.limb_vector(f"{side}_knee", pose.rotations)
    toe, heel = made.foot_points[2 * number : 2 * number + 2]
    up = quaternions.rotate(made.rest_orientation(), np.array([0.0, 0.0, 1.0]))

    def on_foot(point: np.ndarray) -> np.ndarray:
        return points["ankle"] + quaternions.rotate(pose.rotations[foot], point - made.joint(f"{side}_ankle"))

    points["heel"] = on_foot(heel)
    if toes == foot:
        points["toe"] = points["tip"] = on_foot(toe)
    else:
        ball, tip = made.heads[toes], made.tails[toes]
        points |= {
            name: on_foot(ball) + quaternions.rotate(pose.rotations[toes], point - ball)
            for name, point in (("toe", toe), ("tip", tip + up * ((toe - tip) @ up)))
        }
    space = made.space
    return {name: (point - space.origin) @ space.stretch.T + space.origin for name, point in points.items()}
