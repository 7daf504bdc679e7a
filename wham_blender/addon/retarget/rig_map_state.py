"""The rig map that is being looked at and corrected: one list in the window manager, and what it is as a RigMap."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import bpy
from bpy.props import CollectionProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from ..worker import python_environment
from . import armature as armatures
from . import guess, maps
from .maps import MapError, RigMap

GUESSED = "guessed"
_CHAINS = ("spine", "neck")
_ROOT = "root"  # the row of the bone on the floor, which plays no joint


class WHAM_PG_rig_bone(bpy.types.PropertyGroup):
    """A joint of the map and the bone that plays it."""

    joint: StringProperty(description="One of SMPL's joints, spine or neck for one of their bones in order, or root")
    bone: StringProperty(name="Bone", description="The bone whose head is this joint; empty where the rig has none")
    guessed: StringProperty(description="The bone that the confidence is about")
    confidence: FloatProperty(min=0.0, max=1.0)


class WHAM_PG_rig_map(bpy.types.PropertyGroup):
    """A map in the making, for one armature."""

    armature: PointerProperty(type=bpy.types.Object)
    name: StringProperty(name="Name", description="What the map is saved as")
    source: StringProperty(description="The known map that fits, or that it was guessed")
    base: StringProperty(description="The map as TOML: its controls, twist bones and switches, which have no rows")
    bones: CollectionProperty(type=WHAM_PG_rig_bone)
    active: IntProperty()


def state() -> WHAM_PG_rig_map:
    """The map in the making."""
    return bpy.context.window_manager.wham_rig_map


def user_folder() -> Path:
    """Where the user's own maps lie; uninstalling the extension leaves them."""
    return python_environment.data_folder() / "rig_maps"


def user_maps() -> tuple[dict[str, RigMap], list[str]]:
    """The user's own maps by their files' names, and a sentence for each file that is none."""
    found, broken = {}, []
    for path in sorted(user_folder().glob("*.toml")):
        try:
            found[path.stem] = maps.read(path)
        except MapError as error:
            broken.append(str(error))
    return found, broken


def known_map(armature: bpy.types.Object) -> RigMap | None:
    """The user's or the shipped map that fits an armature, with its bones' names; the user's own come first."""
    stamps = tuple((path.name, path.stat().st_mtime_ns) for path in sorted(user_folder().glob("*.toml")))
    return _matching(tuple(armature.data.bones.keys()), stamps)


@lru_cache(maxsize=32)
def _matching(names: tuple[str, ...], _stamps: tuple[tuple[str, int], ...]) -> RigMap | None:
    """The map for bones' names while the user's files stay the same: panels ask whenever they are drawn."""
    return maps.matching(names, user_maps()[0].values()) or maps.matching(names, maps.shipped().values())


def chosen_map(armature: bpy.types.Object) -> RigMap | None:
    """The map in the list if it is about this armature, else a known one; raises MapError where it is not complete."""
    if state().armature == armature and state().bones:
        return from_rows()
    return known_map(armature)


def map_of(armature: bpy.types.Object) -> RigMap:
    """The map to use for an armature.

    Raises MapError where the list is not complete, or where no map is known, and then says if none can be.
    """
    known = chosen_map(armature)
    if known is None:
        guess.guess(armature.name, armatures.rest_skeleton(armature))
        raise MapError(
            f"No rig map is known for {armature.name}. Press Guess Rig Map, look through the bones that it finds, "
            "and try again."
        )
    return known


def look_at(armature: bpy.types.Object) -> None:
    """Fill the list: with a known map that fits, or with a guess. Raises MapError where neither can be."""
    rig_map = known_map(armature)
    if rig_map is not None:
        show(armature, rig_map, rig_map.name, {})
        return
    guessed = guess.guess(armature.name, armatures.rest_skeleton(armature))
    show(armature, guessed.rig_map, GUESSED, guessed.confidence)


def show(armature: bpy.types.Object, rig_map: RigMap, source: str, confidence: dict[str, float]) -> None:
    """Fill the list with a fitted map; bones without a confidence are sure."""
    record = state()
    record.armature, record.name, record.source = armature, rig_map.name, source
    record.base = maps.to_toml(rig_map)
    record.bones.clear()
    pelvis, *others = maps.ROLES
    _add_row(pelvis, rig_map.bones[pelvis], confidence)
    for chain in _CHAINS:
        for bone in getattr(rig_map, chain):
            _add_row(chain, bone, confidence)
    for joint in others:
        _add_row(joint, rig_map.bones.get(joint, ""), confidence)
    _add_row(_ROOT, rig_map.root, confidence)
    record.active = 0


def add_chain_row(chain: str) -> None:
    """Put an empty row after the last one of "spine" or "neck", or after the spine where the rig has no neck."""
    record = state()
    places = {row.joint: place for place, row in enumerate(record.bones)}
    place = places.get(chain, places.get("spine", 0)) + 1
    _add_row(chain, "", {})
    record.bones.move(len(record.bones) - 1, place)
    record.active = place


def _add_row(joint: str, bone: str, confidence: dict[str, float]) -> None:
    row = state().bones.add()
    row.joint = joint
    row.bone = row.guessed = bone
    row.confidence = confidence.get(bone, 1.0 if bone else 0.0)


def sureness(row: WHAM_PG_rig_bone) -> float:
    """How sure a row is, 0 to 1: what the user has chosen is sure."""
    return row.confidence if row.bone == row.guessed else 1.0


def from_rows() -> RigMap:
    """The map that the list says. Raises MapError where a bone is missing, not there or named twice."""
    record = state()
    if record.armature is None:
        raise MapError("No rig map is in the list. Select a character's armature and press Guess Rig Map.")
    known = record.armature.data.bones
    for row in record.bones:
        if row.bone and row.bone not in known:
            raise MapError(f"{record.armature.name} has no bone {row.bone}, which is named for {label(row.joint)}.")
        if not row.bone and row.joint in maps.REQUIRED_ROLES:
            raise MapError(f"No bone is named for {label(row.joint)}. Choose it in the list of the rig map.")
    base = maps.from_toml(record.base, record.name)
    chains = {chain: tuple(row.bone for row in record.bones if row.joint == chain and row.bone) for chain in _CHAINS}
    bones = {row.joint: row.bone for row in record.bones if row.bone and row.joint in maps.ROLES}
    played = {*bones.values(), *(bone for chain in chains.values() for bone in chain)}
    made = replace(
        base,
        name=record.name,
        bones=bones,
        spine=chains["spine"],
        neck=chains["neck"],
        spine_at=base.spine_at if chains["spine"] == base.spine else (),
        neck_at=base.neck_at if chains["neck"] == base.neck else (),
        controls={bone: control for bone, control in base.controls.items() if bone in played},
        mover=base.mover if base.mover in played else "",
        root=next((row.bone for row in record.bones if row.joint == _ROOT), ""),
        twists={joint: bones_ for joint, bones_ in base.twists.items() if bones.get(joint) == base.bones.get(joint)},
    )
    return maps.from_toml(maps.to_toml(made), f"The rig map {record.name}")


def label(joint: str) -> str:
    """A joint's name as it is shown: "left knee"."""
    return joint.replace("_", " ")


def register() -> None:
    """Hang the map in the making on the window manager."""
    bpy.types.WindowManager.wham_rig_map = PointerProperty(type=WHAM_PG_rig_map)


def unregister() -> None:
    """Take it away."""
    del bpy.types.WindowManager.wham_rig_map
