"""Bakes imported motions onto one or more rigs: which motion each rig gets, and what is reported of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import bpy

from ..scene import character
from ..scene.character import CharacterError
from . import bake, rig_map_state
from .bake import BakeError, Options
from .maps import MapError
from .rig_action import Written


def bake_all(
    operator: bpy.types.Operator, pairs: Sequence[tuple[bpy.types.Object, bpy.types.Object]]
) -> tuple[list[bpy.types.Object], str]:
    """Bake each source onto its rig as the operator's BakeOptions say, and report what was done.

    What fails leaves its rig as it was and the others alone. Returns the sources of those that were done, and why
    others failed; empty where none did.
    """
    options = Options(
        plant_feet=operator.plant_feet,
        root_motion=operator.root_motion == "ROOT",
        arm_spread=operator.arm_spread,
        thin=operator.keying == "FEW",
        angle=operator.angle_error,
        distance=operator.distance_error,
        strip=operator.layer == "STRIP",
    )
    done: list[bpy.types.Object] = []
    failed: list[str] = []
    for source, rig in pairs:
        try:
            written = bake.bake(source, rig, rig_map_state.map_of(rig), options)
            operator.report({"INFO"}, _sentence(rig, written, options))
            done.append(source)
        except (BakeError, CharacterError, MapError) as problem:
            failed.append(str(problem))
    if failed and done:
        failed.append(f"The other {len(done)} of {len(pairs)} rigs have their motion.")
    return done, " ".join(failed)


def paired(
    sources: Sequence[bpy.types.Object], rigs: Sequence[bpy.types.Object]
) -> list[tuple[bpy.types.Object, bpy.types.Object]]:
    """Whose motion each rig gets: the only one there is, or as many in the order of names. Raises BakeError."""
    if len(sources) == 1:
        return [(sources[0], rig) for rig in rigs]
    if len(sources) != len(rigs):
        names = ", ".join(thing.name for thing in sources)
        raise BakeError(
            f"There are {len(sources)} motions for {len(rigs)} rigs: {names}. Select one motion together with the "
            "rigs, or as many motions as rigs, which get them in the order of their names."
        )
    by_name = [sorted(things, key=lambda thing: thing.name) for things in (sources, rigs)]
    return list(zip(*by_name, strict=True))


def selected_rigs(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected armatures that are no imported motions."""
    chosen = dict.fromkeys([context.active_object, *context.selected_objects])
    armatures = [thing for thing in chosen if thing is not None and thing.type == "ARMATURE"]
    return [thing for thing in armatures if not character.is_character(thing)]


def asked_rigs(operator: bpy.types.Operator, context: bpy.types.Context) -> list[bpy.types.Object]:
    """The rigs that an import's options name, or those that are selected; none where a new character is wanted.

    Raises BakeError or MapError where one of them cannot get a motion, so that nobody waits for an import in vain.
    """
    if operator.target != "BAKE":
        return []
    rigs = []
    for name in operator.rig.splitlines():
        if name not in context.scene.objects:
            raise BakeError(f"There is no rig {name} in the scene. Choose the armature that shall get the motion.")
        rigs.append(context.scene.objects[name])
    rigs = rigs or selected_rigs(context)
    if not rigs:
        raise BakeError("No rig is named or selected. Choose the armature of the character that shall get the motion.")
    for rig in rigs:
        bake.refuse(rig)
        rig_map_state.map_of(rig)
    return rigs


def motion_sources(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The imported motions that are selected, or all of the scene where none is."""
    selected = [thing for thing in context.selected_objects if character.is_character(thing)]
    return selected or [thing for thing in context.scene.objects if character.is_character(thing)]


def _sentence(rig: bpy.types.Object, written: Written, options: Options) -> str:
    """What was done to a rig."""
    said = f"{rig.name}: {written.keys} keys in {written.action.name}"
    if options.thin:
        off = f"{math.degrees(written.angle):.2f} degrees and {1000 * written.distance:.1f} mm"
        said += f" instead of {written.most}, at most {off} off"
    return "; ".join([said, *written.notes])
