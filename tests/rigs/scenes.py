"""Scenes as studios have them: what may be set on a rig, its action or its collections before a bake. Needs bpy.

Each case takes a rig and prepares it. `measure` compares the rig with the imported character as Blender evaluates both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from wham_blender.addon.retarget import rig_map_state
from wham_blender.addon.retarget.maps import LIMBS, mirrored
from wham_blender.addon.scene.action import curves_of
from wham_blender.skeleton import JOINT_NAMES

# Bones of the rig that the cases are made for
HIPS, SPINE, ARM = (f"mixamorig:{name}" for name in ("Hips", "Spine1", "LeftArm"))
SCALE_MODES = ("FIX_SHEAR", "ALIGNED", "AVERAGE", "NONE", "NONE_LEGACY")
OTHERS = ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX", "AXIS_ANGLE")  # rotation modes


# --- collections and view layers -------------------------------------------------------------------------------------


def own_collection(rig: bpy.types.Object) -> bpy.types.Collection:
    """Move a rig into a collection of its own."""
    collection = bpy.data.collections.new("Cast")
    bpy.context.scene.collection.children.link(collection)
    for owner in list(rig.users_collection):
        owner.objects.unlink(rig)
    collection.objects.link(rig)
    return collection


def layer_collection(rig: bpy.types.Object, layer: bpy.types.ViewLayer | None = None) -> bpy.types.LayerCollection:
    """The collection of a rig in a view layer."""
    layer = layer or bpy.context.view_layer
    return layer.layer_collection.children[rig.users_collection[0].name]


def excluded(rig):
    own_collection(rig)
    layer_collection(rig).exclude = True


def hidden_collection(rig):
    own_collection(rig)
    layer_collection(rig).hide_viewport = True


def disabled_collection(rig):
    own_collection(rig).hide_viewport = True


def excluded_and_moved(rig):
    """Blender does not evaluate it, so that its matrix_world is an old one."""
    excluded(rig)
    rig.location, rig.rotation_euler = (3, -2, 0.5), (0, 0, 1.0)


def hidden(rig):
    rig.hide_set(True)


def disabled(rig):
    rig.hide_viewport = True


def other_view_layer(rig):
    own_collection(rig)
    layer = bpy.context.scene.view_layers.new("Cast")
    layer_collection(rig).exclude = True
    layer_collection(rig, layer).exclude = False


def other_scene(rig):
    scene = bpy.data.scenes.new("Set")
    for owner in list(rig.users_collection):
        owner.objects.unlink(rig)
    scene.collection.objects.link(rig)


# --- the rig's own state ---------------------------------------------------------------------------------------------


def rest_position(rig):
    rig.data.pose_position = "REST"


def leftover_locations(rig):
    for number, bone in enumerate(rig.pose.bones):
        bone.location = (0.05 + 0.01 * number % 3, -0.07, 0.1)


def leftover_scales(rig):
    rig.pose.bones[ARM].scale = (1.3, 1.3, 1.3)
    rig.pose.bones[SPINE].scale = (0.8, 0.8, 0.8)


def leftover_uneven_scales(rig):
    rig.pose.bones[ARM].scale = (1.0, 1.5, 0.7)


def leftover_pose(rig):
    rng = np.random.default_rng(0)
    for bone in rig.pose.bones:
        bone.rotation_mode = "QUATERNION"
        bone.rotation_quaternion = Quaternion(rng.normal(size=3), 0.5)
        bone.location = 0.05 * rng.normal(size=3)


def placed_object(rig):
    rig.location, rig.rotation_euler, rig.scale = (3, -2, 0.5), (0.3, 0.2, 2.0), (0.6, 0.6, 0.6)


def delta_transforms(rig):
    rig.delta_location, rig.delta_rotation_euler, rig.delta_scale = (1, 2, 0.3), (0.1, 0, 0.8), (1.4, 1.4, 1.4)


def uneven_object(rig):
    rig.location, rig.rotation_euler, rig.scale = (1, 2, 0.2), (0.1, 0.3, 1.0), (0.8, 1.3, 1.1)


def mirrored_object(rig):
    rig.scale = (-1.2, 1.2, 1.2)
    bpy.context.view_layer.update()


def inherit_rotation_off(rig):
    rig.data.bones[ARM].use_inherit_rotation = False


def inherit_rotation_off_everywhere(rig):
    for bone in rig.data.bones:
        bone.use_inherit_rotation = False


def world_location(rig):
    """Locations of bones along the armature's axes, not the parents'."""
    for bone in rig.data.bones:
        bone.use_local_location = False


def inherit_scale(*modes):
    """Ways in which bones get the scale of what they hang from, which is even or not."""

    def prepare(rig):
        for number, bone in enumerate(rig.data.bones):
            bone.inherit_scale = modes[number % len(modes)]
        leftover_scales(rig)

    return prepare


def locked_channels(rig):
    for bone in rig.pose.bones:
        bone.lock_location = bone.lock_rotation = bone.lock_scale = (True, True, True)
        bone.lock_rotation_w = True
        bone.lock_rotations_4d = True


def other_rotation_modes(rig):
    for number, bone in enumerate(rig.pose.bones):
        bone.rotation_mode = OTHERS[number % len(OTHERS)]


# --- animation -------------------------------------------------------------------------------------------------------


def keyed(rig, first=-20.0, last=80.0):
    """Give the rig an action that moves the whole body, with keys before and after the baked range."""
    rng = np.random.default_rng(1)
    for bone in rig.pose.bones:
        channel = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}
        path = channel.get(bone.rotation_mode, "rotation_euler")
        for frame in (first, (first + last) / 2, last):
            size = len(getattr(bone, path))
            setattr(bone, path, rng.normal(size=size) + ([2, 0, 0, 0] if size == 4 else [0, 0, 0]))
            bone.location = 0.05 * rng.normal(size=3)
            bone.keyframe_insert(path, frame=frame)
            bone.keyframe_insert("location", frame=frame)
    return rig.animation_data.action


def push_down(rig, **settings):
    """Make the rig's action a strip, and give the strip settings."""
    animation = rig.animation_data
    action, slot = animation.action, getattr(animation, "action_slot", None)
    animation.action = None
    track = animation.nla_tracks.new()
    strip = track.strips.new(action.name, int(action.frame_range[0]), action)
    if slot is not None:
        strip.action_slot = slot
    for name, value in settings.items():
        setattr(strip, name, value)
    return track


def active(rig, keys):
    """Give the rig an action that shows something beyond its keys, or beyond the range that it says it has."""
    action = keyed(
        rig, *((5.0, 5.0) if keys == "one" else (3.0, 9.0) if keys in ("CYCLES", "LINEAR") else (-20.3, 79.7))
    )
    slot = getattr(rig.animation_data, "action_slot", None)
    for curve in curves_of(action, slot):
        if keys == "CYCLES":
            curve.modifiers.new("CYCLES")
        elif keys == "LINEAR" and curve.data_path.endswith("location"):
            curve.extrapolation = "LINEAR"
    if keys == "range":
        action.use_frame_range, action.frame_start, action.frame_end = True, 5, 20
    if keys == "slots":  # which it shares with an object whose keys are elsewhere
        other = bpy.data.objects.new("Other", None)
        bpy.context.scene.collection.objects.link(other)
        other.animation_data_create().action = action
        other.animation_data.action_slot = action.slots.new("OBJECT", "Other")
        for frame in (-300, 500):
            other.keyframe_insert("location", frame=frame)


def keys_before_and_after(rig):
    keyed(rig)


def keys_in_other_modes(rig):
    other_rotation_modes(rig)
    keyed(rig)


def blend(kind, influence=1.0, extrapolation="HOLD"):
    def prepare(rig):
        animation = rig.animation_data_create()
        animation.action_blend_type, animation.action_influence = kind, influence
        animation.action_extrapolation = extrapolation

    return prepare


def track_below(kind="REPLACE", **settings):
    def prepare(rig):
        keyed(rig)
        push_down(rig, blend_type=kind, **settings)

    return prepare


def blend_over_a_track(kind):
    def prepare(rig):
        track_below()(rig)
        blend(kind)(rig)

    return prepare


def solo_track(rig):
    keyed(rig)
    push_down(rig).is_solo = True


def scaling_track(rig):
    """A strip with keyed scales: the bake does not key them."""
    for frame, scale in ((1, 1.0), (40, 1.6)):
        rig.pose.bones[SPINE].scale = (scale, scale, scale)
        rig.pose.bones[SPINE].keyframe_insert("scale", frame=frame)
    rig.pose.bones[SPINE].scale = (1, 1, 1)
    push_down(rig)


def nla_off(rig):
    rig.animation_data_create().use_nla = False


def moving_object(rig):
    """The rig's own object is animated by a strip."""
    rig.rotation_mode = "XYZ"
    for frame, place in ((1, (0, 0, 0)), (40, (4, 1, 0.5))):
        rig.location, rig.rotation_euler = place, (0.0, 0.0, place[0] / 3)
        rig.keyframe_insert("location", frame=frame)
        rig.keyframe_insert("rotation_euler", frame=frame)
    push_down(rig)


def moving_parent(rig):
    cart = bpy.data.objects.new("Cart", None)
    bpy.context.scene.collection.objects.link(cart)
    for frame, place in ((1, (0, 0, 0)), (20, (2, -1, 0.3)), (40, (4, 1, 0))):
        cart.location, cart.rotation_euler = place, (0.1 * place[1], 0, place[0] / 3)
        cart.keyframe_insert("location", frame=frame)
        cart.keyframe_insert("rotation_euler", frame=frame)
    rig.parent = cart
    bpy.context.view_layer.update()


def still_parent(rig):
    cart = bpy.data.objects.new("Cart", None)
    bpy.context.scene.collection.objects.link(cart)
    cart.matrix_world = Matrix.Translation((1, 2, 0)) @ Matrix.Rotation(1.0, 4, "Z") @ Matrix.Scale(1.3, 4)
    rig.parent = cart
    bpy.context.view_layer.update()


def growing_parent(rig):
    moving_parent(rig)
    for frame, scale in ((1, 1.0), (40, 1.7)):
        rig.parent.scale = (scale, scale, scale)
        rig.parent.keyframe_insert("scale", frame=frame)


# --- what holds bones ------------------------------------------------------------------------------------------------


def driven_rotation(rig):
    """The pose bone turns as the frame says."""
    for index in range(4):
        driver = rig.pose.bones[ARM].driver_add("rotation_quaternion", index).driver
        driver.expression = "sin(frame / 10)" if index == 1 else "cos(frame / 10)" if index == 0 else "0"


def driven_location(rig):
    rig.pose.bones[SPINE].driver_add("location", 1).driver.expression = "0.01 * frame"


def driven_helper(rig):
    """A parent that the bake does not key."""
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    helper = bones.new("helper")
    helper.head, helper.tail = bones[SPINE].head, bones[SPINE].tail
    helper.parent, bones[SPINE].parent = bones[SPINE].parent, helper
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.pose.bones["helper"].rotation_mode = "XYZ"
    rig.pose.bones["helper"].driver_add("rotation_euler", 0).driver.expression = "frame / 40"


def limited(rig):
    limit = rig.pose.bones[ARM].constraints.new("LIMIT_ROTATION")
    limit.use_limit_x = limit.use_limit_y = limit.use_limit_z = True
    limit.min_x = limit.min_y = limit.min_z = -0.7
    limit.max_x = limit.max_y = limit.max_z = 0.7
    limit.owner_space = "LOCAL"


def copied_rotation(rig, influence=1.0):
    empty = bpy.data.objects.new("Aim", None)
    bpy.context.scene.collection.objects.link(empty)
    copy = rig.pose.bones[ARM].constraints.new("COPY_ROTATION")
    copy.target, copy.influence = empty, influence


def tracked(rig):
    """A constraint to an object that moves."""
    copied_rotation(rig, 0.0)
    constraint = rig.pose.bones[ARM].constraints[0]
    for frame, influence in ((1, 0.0), (40, 1.0)):
        constraint.influence = influence
        constraint.keyframe_insert("influence", frame=frame)
    constraint.influence = 0.0
    push_down(rig)


# --- actions ---------------------------------------------------------------------------------------------------------


def shared_action(rig):
    other = rig.copy()
    bpy.context.scene.collection.objects.link(other)
    other.name = "Double"
    action = keyed(rig)
    other.animation_data_create().action = action
    if hasattr(action, "slots"):
        other.animation_data.action_slot = rig.animation_data.action_slot


def muted_curves(rig):
    action = keyed(rig)
    for curve in curves_of(action, getattr(rig.animation_data, "action_slot", None)):
        curve.mute = True


Prepare = Callable[[bpy.types.Object], None]
CASES: dict[str, Prepare] = {
    "plain": lambda rig: None,
    **{
        case.__name__: case
        for case in (
            excluded, hidden_collection, disabled_collection, excluded_and_moved, hidden, disabled, other_view_layer,
            other_scene, rest_position, leftover_locations, leftover_scales, leftover_uneven_scales, leftover_pose,
            placed_object, delta_transforms, uneven_object, mirrored_object, inherit_rotation_off,
            inherit_rotation_off_everywhere, world_location, locked_channels, other_rotation_modes,
            keys_before_and_after, keys_in_other_modes, solo_track, scaling_track, nla_off, moving_object,
            moving_parent, still_parent, growing_parent, driven_rotation, driven_location, driven_helper, limited,
            copied_rotation, tracked, shared_action, muted_curves,
        )
    },
    **{f"inherit scale {mode}": inherit_scale(mode) for mode in SCALE_MODES},
    "inherit scale of all kinds": inherit_scale(*SCALE_MODES),
    **{f"blend {kind}": blend(kind) for kind in ("COMBINE", "ADD", "SUBTRACT", "MULTIPLY")},
    "influence 0.3": blend("REPLACE", 0.3),
    "extrapolation NOTHING": blend("REPLACE", 1.0, "NOTHING"),
    **{f"track below, {kind}": track_below(kind) for kind in ("REPLACE", "COMBINE", "ADD")},
    "track below, twice as long": track_below("REPLACE", scale=2.0),
    **{f"{kind} over a track": blend_over_a_track(kind) for kind in ("COMBINE", "ADD")},
}  # fmt: skip


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(source: bpy.types.Object, rig: bpy.types.Object, frames: Iterable[float]) -> tuple[float, np.ndarray]:
    """The largest angle in degrees between a limb of source and rig, and the rig's joints.

    Joints (F, B, 3) are those of the rig map, in the world. Both objects are evaluated in a scene of their own, so that
    it does not matter where the user has them.
    """
    rig_map = rig_map_state.map_of(rig)
    bones = (mirrored(rig_map) if rig.matrix_world.is_negative else rig_map).bones
    pairs = [pair for joints in LIMBS.values() for pair in pairwise(joints)]
    scene, disabled = bpy.data.scenes.new("Measured"), rig.hide_viewport
    for obj in (source, rig):
        scene.collection.objects.link(obj)
    rig.hide_viewport = False
    joints, limb = [], 0.0
    for frame in frames:
        scene.frame_set(math.floor(frame), subframe=frame % 1)
        graph = scene.view_layers[0].depsgraph
        one, other = (obj.evaluated_get(graph) for obj in (source, rig))
        wanted = {name: one.matrix_world @ one.pose.bones[name].head for name in JOINT_NAMES}
        found = {name: other.matrix_world @ other.pose.bones[bone].head for name, bone in bones.items()}
        for start, end in pairs:
            limb = max(limb, (wanted[end] - wanted[start]).angle(found[end] - found[start], math.pi))
        joints.append([tuple(point) for point in found.values()])
    bpy.data.scenes.remove(scene)
    rig.hide_viewport = disabled
    return math.degrees(limb), np.array(joints)
