"""Puts shoes on a test rig: a sole that is round at heel and toe, of any size, carried by feet and toes. Needs bpy."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from wham_blender.addon.retarget.maps import RigMap

# Of a foot's length from ankle to ball, from heel to tip: along, half the width, height of the sole.
_SHAPE = (
    (-0.5, 0.12, 0.2), (-0.45, 0.22, 0.06), (-0.3, 0.28, 0.0), (0.2, 0.3, 0.0), (0.7, 0.36, 0.0), (1.0, 0.36, 0.0),
    (1.2, 0.34, 0.02), (1.4, 0.26, 0.07), (1.55, 0.16, 0.16), (1.62, 0.06, 0.28),
)  # fmt: skip
_TOP = 0.35  # height of the upper over the sole
_BLEND = 0.1  # from what only the foot's bone carries to what only the toes' bone does


def put_on(
    rig: bpy.types.Object, rig_map: RigMap, *, size: float = 1.0, toes: str = "bend", shin: float = 0.0
) -> list[bpy.types.Object]:
    """A shoe for each foot, standing on the armature's z = 0.

    toes: "bend" what is ahead of the ball; "nothing" on their bone; "sole": their bone carries most of the shoe, as
    automatic weights do on short feet. shin: the share of the heel that the shin's bone carries, as they do, too.
    """
    shoes = []
    for side in ("left", "right"):
        bones = rig_map.bones
        foot, front = (rig.data.bones.get(bones.get(f"{side}_{joint}", "")) for joint in ("ankle", "foot"))
        ahead = (front.head_local if front else foot.tail_local) - foot.head_local
        ahead.z = 0.0
        length, ball = ahead.length * size, ahead.length
        ahead.normalize()
        aside = ahead.cross(Vector((0.0, 0.0, 1.0)))
        points, along = [], []
        for distance, half, height in _SHAPE:
            for across in (-half, half):
                for z in (height, height + _TOP):
                    point = foot.head_local + length * (distance * ahead + across * aside)
                    points.append((point.x, point.y, length * z))
                    along.append(length * distance)
        faces = [(row, row + 2, row + 6, row + 4) for row in range(0, len(points) - 4, 4)]
        mesh = bpy.data.meshes.new("shoe")
        mesh.from_pydata(points, [], faces)
        shoe = bpy.data.objects.new("shoe", mesh)
        bpy.context.scene.collection.objects.link(shoe)
        shoe.parent = rig
        shoe.modifiers.new("Armature", "ARMATURE").object = rig
        limit = {"bend": ball, "nothing": np.inf, "sole": -0.2 * length}[toes if front else "nothing"]
        on_toes = np.clip(0.5 + (np.array(along) - limit) / (_BLEND * length), 0.0, 1.0)
        on_shin = np.where(np.array(along) < 0, shin, 0.0)
        above = rig.data.bones[bones[f"{side}_knee"]]
        for bone, weights in ((foot, 1 - on_toes - on_shin), (front, on_toes), (above, on_shin)):
            if bone:
                group = shoe.vertex_groups.new(name=bone.name)
                for row, weight in enumerate(weights):
                    group.add([row], weight, "REPLACE")
        shoes.append(shoe)
    bpy.context.view_layer.update()
    return shoes
