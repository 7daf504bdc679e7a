"""The rig map that the user edits: a list of bones in the window manager, and its conversion to a RigMap."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import bpy
from bpy.props import CollectionProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from ...files import file_state
from ..worker import python_environment
from . import armature as armatures
from . import guess, maps
from .map_check import joint_label
from .maps import MapError, RigMap

GUESSED = "guessed"
_CHAINS = ("spine", "neck")
_ROOT = "root"  # the row of the root bone, which is no SMPL joint
_MOST_USER_MAPS = 200  # that are read, in the order of their names


class WHAM_PG_rig_bone(bpy.types.PropertyGroup):
    """A row of the list: a joint and its bone."""

    joint: StringProperty(description="One of SMPL's joints, spine or neck for one of their bones in order, or root")
    bone: StringProperty(name="Bone", description="The bone whose head is this joint; empty if the rig has none")
    guessed: StringProperty(description="The guessed bone, to which the confidence belongs")
    confidence: FloatProperty(min=0.0, max=1.0)


class WHAM_PG_rig_map(bpy.types.PropertyGroup):
    """The map that is edited, for one armature."""

    armature: PointerProperty(type=bpy.types.Object, poll=lambda _record, thing: thing.type == "ARMATURE")
    name: StringProperty(name="Name", description="The name that the map is saved under")
    source: StringProperty(description='The name of the known map that fits, or "guessed"')
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
    """The user's or bundled map that fits an armature, fitted; the user's maps come first. None if none fits."""
    return _matching(tuple(armature.data.bones.keys()), _user_files())


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
    """Fill the list with a known map that fits, else with a guess. Raises MapError if no map can be guessed."""
    rig_map = known_map(armature)
    if rig_map is not None:
        fill(armature, rig_map, rig_map.name, {})
        return
    guessed = guess.guess(armature.name, armatures.rest_skeleton(armature))
    rig_map = replace(guessed.rig_map, settings=armatures.ik_settings(armature, guessed.rig_map))
    fill(armature, rig_map, GUESSED, guessed.confidence)


def fill(armature: bpy.types.Object, rig_map: RigMap, source: str, confidence: dict[str, float]) -> None:
    """Fill the list with a fitted map; bones that are not in ``confidence`` get confidence 1."""
    record = state()
    record.armature, record.name, record.source = armature, rig_map.name, source
    record.base = maps.to_toml(rig_map)
    record.bones.clear()
    pelvis, *others = maps.JOINTS
    _add_row(pelvis, rig_map.bones[pelvis], confidence)
    for chain in _CHAINS:
        for bone in getattr(rig_map, chain):
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
    base = maps.from_toml(record.base, record.name)
    chains = {chain: tuple(row.bone for row in record.bones if row.joint == chain and row.bone) for chain in _CHAINS}
    bones = {row.joint: row.bone for row in record.bones if row.bone and row.joint in maps.JOINTS}
    mapped = {*bones.values(), *(bone for chain in chains.values() for bone in chain)}
    edited = replace(
        base,
        name=record.name,
        bones=bones,
        spine=chains["spine"],
        neck=chains["neck"],
        spine_at=base.spine_at if chains["spine"] == base.spine else (),
        neck_at=base.neck_at if chains["neck"] == base.neck else (),
        controls={bone: control for bone, control in base.controls.items() if bone in mapped},
        location_bone=base.location_bone if base.location_bone in mapped else "",
        root=next((row.bone for row in record.bones if row.joint == _ROOT), ""),
        twists={joint: names for joint, names in base.twists.items() if bones.get(joint) == base.bones.get(joint)},
    )
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
