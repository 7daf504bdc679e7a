"""Bakes imported motions onto one or more rigs: pairs motions with rigs, bakes each pair, reports the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import bpy

from ...errors import CodedError
from ..scene import character
from . import bake, map_check, rig_map_state
from .bake_options import BakeError, Options
from .rig_action import BakedAction

Report = Callable[[set[str], str], None]  # as bpy.types.Operator.report: {"INFO"}, {"WARNING"} or {"ERROR"}, text


def bake_all(
    pairs: Sequence[tuple[bpy.types.Object, bpy.types.Object]], options: Options, report: Report
) -> tuple[list[bpy.types.Object], str]:
    """Bake each motion (first of a pair) onto its rig (second), and report the number of keys and errors of each.

    A bake that fails changes neither its rig nor the other rigs. Returns the motions that were baked, and the
    messages of the failures in one text; empty if none failed.
    """
    done: list[bpy.types.Object] = []
    failed: list[str] = []
    for source, rig in pairs:
        try:
            written = bake.bake(source, rig, rig_map_state.map_of(rig), options)
            report({"INFO"}, _summary(rig, written, options))
            for warning in written.warnings:
                report({"WARNING"}, warning)
            if not rig.visible_get():
                report({"WARNING"}, _hidden(rig))
            done.append(source)
        except CodedError as problem:
            failed.append(str(problem))
    if failed and done:
        failed.append(f"The other {len(done)} of {len(pairs)} rigs have their motion.")
    return done, " ".join(failed)


def pair_by_name(
    sources: Sequence[bpy.types.Object], rigs: Sequence[bpy.types.Object]
) -> list[tuple[bpy.types.Object, bpy.types.Object]]:
    """Pairs (motion, rig): one motion for all rigs, or as many motions as rigs, both in the order of their names.

    Raises BakeError if the numbers do not fit.
    """
    if len(sources) == 1:
        return [(sources[0], rig) for rig in rigs]
    if len(sources) != len(rigs):
        names = ", ".join(source.name for source in sources)
        raise BakeError(
            f"{len(sources)} motions need {len(sources)} rigs; selected: {len(rigs)}. The motions are {names}. "
            "Select one motion together with the rigs, or as many motions as rigs, which get them in the order of "
            "their names.",
            code="motions-rigs-mismatch",
        )
    by_name = [sorted(objects, key=lambda obj: obj.name) for objects in (sources, rigs)]
    return list(zip(*by_name, strict=True))


def selected_rigs(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The active and the selected armatures, without imported characters."""
    selected = dict.fromkeys([context.active_object, *context.selected_objects])
    armatures = [obj for obj in selected if obj is not None and obj.type == "ARMATURE"]
    return [obj for obj in armatures if not character.is_character(obj)]


def target_rigs(context: bpy.types.Context, names: Sequence[str]) -> list[bpy.types.Object]:
    """The rigs of these names in the scene, or the selected ones if there are no names.

    Raises BakeError or MapError if one of them cannot be baked onto, so that an import fails before the worker runs.
    """
    rigs = []
    for name in names:
        elsewhere = bpy.data.objects[name].users_scene if name in bpy.data.objects else ()
        if name not in context.scene.objects and elsewhere:
            raise BakeError(
                f"The rig {name} is in the scene {elsewhere[0].name}, not in {context.scene.name}. Import the motion "
                "in that scene, or link the rig into this one (Object > Link/Transfer Data > Link Objects to Scene).",
                code="rig-in-other-scene",
            )
        if name not in context.scene.objects:
            raise BakeError(
                f"There is no rig {name} in the scene. Choose the armature to bake the motion onto.",
                code="rig-not-found",
            )
        rigs.append(context.scene.objects[name])
    rigs = rigs or selected_rigs(context)
    if not rigs:
        raise BakeError(
            "No rig is named or selected. Choose the armature to bake the motion onto.", code="no-rig-selected"
        )
    for rig in rigs:
        bake.check_rig(rig)
        map_check.check(rig, rig_map_state.map_of(rig))
    return rigs


def motion_sources(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected imported characters, or all of the scene if none is selected."""
    selected = [obj for obj in context.selected_objects if character.is_character(obj)]
    return selected or [obj for obj in context.scene.objects if character.is_character(obj)]


def _hidden(rig: bpy.types.Object) -> str:
    """Why the user does not see a rig that has its motion."""
    if rig.name not in bpy.context.view_layer.objects:
        return (
            f"{rig.name} has its motion, but is not in the view layer {bpy.context.view_layer.name} of "
            f"{bpy.context.scene.name}. Include its collection there, with the checkbox in the Outliner."
        )
    return f"{rig.name} has its motion, but is hidden. Show it or its collection in the Outliner."


def _summary(rig: bpy.types.Object, written: BakedAction, options: Options) -> str:
    """The report of one bake: number of keys, largest errors, notes."""
    keys = f"{rig.name}: {written.keys} keyframes in {written.action.name}"
    notes = list(written.notes)
    if options.reduce_keys:
        angle, distance = math.degrees(written.angle_error), 1000 * written.distance_error
        keys = f"{rig.name}: {written.keys} keyframes instead of {written.unreduced_keys} in {written.action.name}"
        notes.insert(0, f"errors are at most {angle:.2f} degrees and {distance:.1f} mm")
    return "; ".join([keys, *notes])
