"""Reads which bone is which from the humanoid table that the VRM add-on keeps on an armature, of VRM 0 and of VRM 1.

The table stays in the file when that add-on is disabled or not installed: it is read as it is stored. Each entry has
the identifier of a bone, and each bone its own, so that renamed bones are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import bpy

from . import maps
from .maps import MapError, RigMap

_KEY = "vrm_addon_extension"  # the add-on's properties, of armatures and of bones
_MOST_ENTRIES = 200  # of a table that are read; VRM has 55 bones


def known_map(armature: bpy.types.Object) -> RigMap | None:
    """The map that an armature's table gives; None without a table, or if bones of the body are missing in it."""
    stored = _stored(armature.data)
    if stored is None:
        return None
    bones = armature.data.bones
    by_uuid = {uuid: bone.name for bone in bones if (uuid := _text(_get(_stored(bone), "uuid")))}

    def named(entries: Iterator[tuple[str, Any]]) -> dict[str, str]:
        found = ((_plain(joint), by_uuid.get(_text(_get(entry, "node", "bone_uuid")), "")) for joint, entry in entries)
        return {joint: bone for joint, bone in found if bone}

    # Both versions' tables are on all armatures; the add-on fills the one that the file is of, sometimes both.
    tables = [named(_version_1(stored)), named(_version_0(stored))]
    return _map_of(armature, max(tables, key=len))


def _map_of(armature: bpy.types.Object, table: Mapping[str, str]) -> RigMap | None:
    humanoid = maps.shipped()["unity_humanoid"]  # VRM's joints have its names
    missing = {name for name in maps.all_names(humanoid) if _plain(name) not in table}
    if missing - humanoid.dispensable():
        return None

    def bone_of(name: str) -> str:
        return table[_plain(name)] if name else ""

    found = maps.renamed(maps.without(humanoid, missing), bone_of)
    above = armature.data.bones[found.bones["pelvis"]].parent_recursive
    found = replace(found, name="VRM humanoid", root=above[-1].name if above else "")
    try:
        return maps.from_toml(maps.to_toml(found), found.name)
    except MapError:  # a bone is named twice
        return None


def _version_0(stored: Any) -> Iterator[tuple[str, Any]]:
    entries = _get(stored, "vrm0", "humanoid", "human_bones")
    if hasattr(entries, "__iter__") and not hasattr(entries, "get"):
        for entry in list(entries)[:_MOST_ENTRIES]:
            yield _text(_get(entry, "bone")), entry


def _version_1(stored: Any) -> Iterator[tuple[str, Any]]:
    entries = _get(stored, "vrm1", "humanoid", "human_bones")
    if hasattr(entries, "items"):
        yield from list(entries.items())[:_MOST_ENTRIES]


def _stored(thing: bpy.types.Armature | bpy.types.Bone) -> Any:
    """What the add-on has stored on an armature or a bone; None if it has not."""
    # From Blender 5.0 on, the properties that add-ons register are not among the custom ones.
    system: Callable[..., Any] | None = getattr(thing, "bl_system_properties_get", None)
    return _get(system(do_create=False) if system else thing, _KEY)


def _get(stored: Any, *keys: str) -> Any:
    for key in keys:
        if not hasattr(stored, "get"):
            return None
        stored = stored.get(key)
    return stored


def _text(stored: Any) -> str:
    return stored if isinstance(stored, str) else ""


def _plain(joint: str) -> str:
    """A joint's name as all spell it: LeftUpperLeg (Unity), leftUpperLeg (VRM 0), left_upper_leg (VRM 1)."""
    return joint.replace("_", "").lower()
