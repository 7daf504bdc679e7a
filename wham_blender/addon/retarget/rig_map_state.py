"""The rig map that the user edits: a list of bones in the window manager, and its conversion to a RigMap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import bpy
import numpy as np
from bpy.props import CollectionProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from ...files import file_state
from ..worker import python_environment
from . import armature as armatures
from . import body_frame, bone_names, guess, maps, pose_backup, vrm_humanoid
from .map_check import joint_label
from .maps import MapError, RigMap

GUESSED, BY_HAND = "guessed", "by hand"
_CHAINS = ("spine", "neck")
_ROOT = "root"  # the row of the root bone, which is no SMPL joint
_MOST_USER_MAPS = 200  # that are read, in the order of their names
on_change: list[Callable[[], None]] = []  # called when a bone of the list is another one


def _changed(_row: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    for function in on_change:
        function()


class WHAM_PG_rig_bone(bpy.types.PropertyGroup):
    """A row of the list: a joint and its bone."""

    joint: StringProperty(description="One of SMPL's joints, spine or neck for one of their bones in order, or root")
    bone: StringProperty(
        name="Bone", description="The bone whose head is this joint; empty if the rig has none", update=_changed
    )
    guessed: StringProperty(description="The guessed bone, to which the confidence belongs")
    confidence: FloatProperty(min=0.0, max=1.0)


class WHAM_PG_rig_map(bpy.types.PropertyGroup):
    """The map that is edited, for one armature."""

    armature: PointerProperty(type=bpy.types.Object, poll=lambda _record, thing: thing.type == "ARMATURE")
    name: StringProperty(name="Name", description="The name that the map is saved under")
    source: StringProperty(description='The name of the known map that fits, "guessed" or "by hand"')
    refusal: StringProperty(description="Why no map could be guessed; empty if one was")
    refusal_code: StringProperty(description="The code of that error")
    base: StringProperty(description="The map as TOML; its controls, twist bones and switches have no rows")
    bones: CollectionProperty(type=WHAM_PG_rig_bone)
    active: IntProperty()


def state() -> WHAM_PG_rig_map:
    """The map that is edited."""
    return bpy.context.window_manager.wham_rig_map


def user_folder() -> Path:
    """The folder of the user's maps; it stays when the extension is uninstalled."""
    return python_environment.data_folder() / "rig_maps"


def user_maps() -> tuple[dict[str, RigMap], list[str]]:
    """The user's maps by file name, and an error message for each file that is no valid map."""
    return _read_maps(_user_files())


_Files = tuple[tuple[Path, tuple[int, ...]], ...]  # with their states


def _user_files() -> _Files:
    paths = sorted(user_folder().glob("*.toml"))[:_MOST_USER_MAPS]
    return tuple((path, tuple(file_state(path))) for path in paths)


@lru_cache(maxsize=1)
def _read_maps(files: _Files) -> tuple[dict[str, RigMap], list[str]]:
    """See user_maps; cached until the files change."""
    valid, errors = {}, []
    for path, _state in files:
        try:
            valid[path.stem] = maps.read(path)
        except MapError as error:
            errors.append(str(error))
    return valid, errors


def known_map(armature: bpy.types.Object) -> RigMap | None:
    """The user's or bundled map that fits an armature, fitted, else the one of its VRM humanoid; None if none fits.

    The user's maps come first.
    """
    # A bundled map knows more than a VRM humanoid: the controls of a rig whose deforming bones are exported as VRM.
    return _matching(tuple(armature.data.bones.keys()), _user_files()) or vrm_humanoid.known_map(armature)


@lru_cache(maxsize=32)
def _matching(names: tuple[str, ...], files: _Files) -> RigMap | None:
    """The map for bone names, cached until the user's files change: panels call this at each redraw."""
    return maps.matching(names, _read_maps(files)[0].values()) or maps.matching(names, maps.shipped().values())


def chosen_map(armature: bpy.types.Object) -> RigMap | None:
    """The edited map if it is of this armature, else a known one or None. Raises MapError if the list is incomplete."""
    if state().armature == armature and state().bones:
        return from_rows()
    return known_map(armature)


def map_of(armature: bpy.types.Object) -> RigMap:
    """The map to use for an armature.

    Raises MapError if the list is incomplete, if no map is known, or if the armature cannot have one.
    """
    known = chosen_map(armature)
    if known is None:
        guess.guess(armature.name, armatures.rest_skeleton(armature))
        raise MapError(
            f"No rig map is known for {armature.name}. Press Guess Rig Map, look through the bones that it finds, "
            "and try again.",
            code="rig-map-unknown",
        )
    return known


def load_or_guess(armature: bpy.types.Object) -> None:
    """Fill the list with a known map that fits, else with a guess.

    Raises MapError if no map can be guessed; the list has empty rows then, to be filled by hand.
    """
    rig_map = known_map(armature)
    if rig_map is not None:
        fill(armature, rig_map, rig_map.name, {})
        return
    try:
        guessed = guess.guess(armature.name, armatures.rest_skeleton(armature))
    except MapError as error:
        fill(armature, RigMap(armature.name, {}), BY_HAND, {})
        state().refusal, state().refusal_code = str(error), error.code
        raise
    fill(armature, guessed.rig_map, GUESSED, guessed.confidence)


def fill(armature: bpy.types.Object, rig_map: RigMap, source: str, confidence: dict[str, float]) -> None:
    """Fill the list with a fitted map; bones that are not in ``confidence`` get confidence 1."""
    pose_backup.restore_all()  # a preview of the map before ends
    record = state()
    record.armature, record.name, record.source = armature, rig_map.name, source
    record.base = maps.to_toml(rig_map) if rig_map.bones else ""
    record.refusal = record.refusal_code = ""
    record.bones.clear()
    pelvis, *others = maps.JOINTS
    _add_row(pelvis, rig_map.bones.get(pelvis, ""), confidence)
    for chain in _CHAINS:
        for bone in getattr(rig_map, chain) or ("",):
            _add_row(chain, bone, confidence)
    for joint in others:
        _add_row(joint, rig_map.bones.get(joint, ""), confidence)
    _add_row(_ROOT, rig_map.root, confidence)
    record.active = 0


def add_chain_row(chain: str) -> None:
    """Add an empty row after the last one of "spine" or "neck", or after the spine if the rig has no neck."""
    record = state()
    last_rows = {row.joint: index for index, row in enumerate(record.bones)}
    index = last_rows.get(chain, last_rows.get("spine", 0)) + 1
    _add_row(chain, "", {})
    record.bones.move(len(record.bones) - 1, index)
    record.active = index


def common_prefix() -> str:
    """What all names in the list begin with, up to its last punctuation: "mixamorig:"; "" if there is nothing."""
    names = [row.bone for row in state().bones if row.bone]
    if len(names) < 3:
        return ""
    first, last = min(names), max(names)
    count = next((number for number, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), 0)
    return first[:count].rstrip("".join(filter(str.isalnum, first)))


def find_row(joint: str, number: int = 1) -> WHAM_PG_rig_bone:
    """The row of a joint; of "spine" and "neck" the one with that number, from 1. Raises MapError if there is none."""
    rows = [row for row in state().bones if row.joint == joint]
    if not 1 <= number <= len(rows):
        raise MapError(
            f"The list of the rig map has no row {number} for {joint or 'a joint without a name'}. Its joints are "
            f"{', '.join(dict.fromkeys(row.joint for row in state().bones))}.",
            code="rig-map-row-unknown",
        )
    return rows[number - 1]


def put(row: WHAM_PG_rig_bone, bone: str) -> str:
    """Name a bone in a row. A row that has it already loses it: its joint, or "" if there was none.

    Raises MapError if the rig has no such bone.
    """
    record = state()
    if bone and bone not in record.armature.data.bones:
        raise MapError(
            f"{record.armature.name} has no bone {bone}, which is named for {joint_label(row.joint)}.",
            code="rig-map-bone-unknown",
        )
    others = [each for each in record.bones if bone and each.bone == bone and each != row]
    for other in others:
        other.bone = ""
    row.bone = bone
    return others[0].joint if others else ""


def selected_bone() -> str:
    """The active bone of the list's rig. Raises MapError if it has none."""
    rig = state().armature
    bone = rig.data.edit_bones.active if rig.mode == "EDIT" else rig.data.bones.active
    if bone is None:
        raise MapError(
            f"No bone of {rig.name} is active. Select the rig, go to Pose Mode, click the bone and then Use Selected.",
            code="no-bone-selected",
        )
    return str(bone.name)


def other_side(joint: str) -> str:
    """The joint on the other side of the body: "right_knee" for "left_knee"; "" for those in the middle."""
    side, _, part = joint.partition("_")
    return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, "") if part else ""


def counterparts(armature: bpy.types.Object, wanted: list[str]) -> list[str]:
    """The bones that mirror others, by their names or else their places; "" where there is none."""
    names = armature.data.bones.keys()
    found = {bone: flipped for bone in wanted if (flipped := bpy.utils.flip_name(bone)) != bone and flipped in names}
    if any(bone not in found for bone in wanted):
        skeleton = armatures.rest_skeleton(armature)
        parsed = [bone_names.parse(bone) for bone in bone_names.without_counters(names)]
        frame = next(body_frame.frames(skeleton, parsed, np.ones(len(names), bool)), None)
        partners = frame.partner if frame is not None else [-1] * len(names)
        by_place = {name: names[other] for name, other in zip(names, partners, strict=True) if other >= 0}
        found = {bone: by_place[bone] for bone in wanted if by_place.get(bone, bone) != bone} | found
    return [found.get(bone, "") for bone in wanted]


def _add_row(joint: str, bone: str, confidence: dict[str, float]) -> None:
    row = state().bones.add()
    row.joint = joint
    row.bone = row.guessed = bone
    row.confidence = confidence.get(bone, 1.0 if bone else 0.0)


def row_confidence(row: WHAM_PG_rig_bone) -> float:
    """The confidence of a row, 0 to 1; 1 for a bone that the user has chosen."""
    return row.confidence if row.bone == row.guessed else 1.0


def from_rows() -> RigMap:
    """The list as a map. Raises MapError if a required bone is empty, or a bone does not exist or is named twice."""
    record = state()
    if record.armature is None or record.armature.type != "ARMATURE":
        raise MapError(
            "No rig map is in the list. Select a character's armature and press Guess Rig Map.", code="no-rig-map"
        )
    if record.refusal and not any(row.bone for row in record.bones):
        raise MapError(record.refusal, code=record.refusal_code)
    known = record.armature.data.bones
    for row in record.bones:
        if row.bone and row.bone not in known:
            raise MapError(
                f"{record.armature.name} has no bone {row.bone}, which is named for {joint_label(row.joint)}.",
                code="rig-map-bone-unknown",
            )
        if not row.bone and row.joint in maps.REQUIRED_JOINTS:
            raise MapError(
                f"No bone is named for {joint_label(row.joint)}. Choose it in the list of the rig map.",
                code="rig-map-bone-empty",
            )
    base = maps.from_toml(record.base, record.name) if record.base else RigMap(record.name, {})
    chains = {chain: tuple(row.bone for row in record.bones if row.joint == chain and row.bone) for chain in _CHAINS}
    bones = {row.joint: row.bone for row in record.bones if row.bone and row.joint in maps.JOINTS}
    mapped = {*bones.values(), *(bone for chain in chains.values() for bone in chain)}
    fingers = {joint: bone for joint, bone in base.fingers.items() if bone not in mapped}
    controlled = mapped | {*fingers.values()}
    edited = replace(
        base,
        name=record.name,
        bones=bones,
        fingers=fingers,
        spine=chains["spine"],
        neck=chains["neck"],
        spine_at=base.spine_at if chains["spine"] == base.spine else (),
        neck_at=base.neck_at if chains["neck"] == base.neck else (),
        controls={bone: control for bone, control in base.controls.items() if bone in controlled},
        location_bone=base.location_bone if base.location_bone in mapped else "",
        root=next((row.bone for row in record.bones if row.joint == _ROOT), ""),
        twists={joint: names for joint, names in base.twists.items() if bones.get(joint) == base.bones.get(joint)},
    )
    if record.source in (GUESSED, BY_HAND):
        edited = replace(edited, settings=armatures.ik_settings(record.armature, edited))
    made = maps.from_toml(maps.to_toml(edited), f"The rig map {record.name}")
    if lacking := [name for name in maps.all_names(made) if name not in known]:
        raise MapError(
            f"{record.armature.name} has no longer the bone {lacking[0]}, which the rig map {record.name} names. "
            "Press Guess Rig Map again.",
            code="rig-map-bone-unknown",
        )
    return made


def register() -> None:
    """Add the edited map to the window manager."""
    bpy.types.WindowManager.wham_rig_map = PointerProperty(type=WHAM_PG_rig_map)


def unregister() -> None:
    """Remove it."""
    del bpy.types.WindowManager.wham_rig_map
