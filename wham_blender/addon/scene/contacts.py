"""Foot contacts in Blender: animated custom properties, and a pose marker where a foot comes down.

``contact_left_toe`` and so on are 1 while the point is planted, else 0; they have keyframes only where they change.
``contact_probability_left_toe`` is the network's output, from which Mark Contacts computes the contacts again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import bpy
import numpy as np

from ...motion import true_intervals
from ...skeleton import FOOT_POINTS
from .action import CONSTANT, LINEAR, ActionKeys

CONTACT_PROPERTIES = tuple(f"contact_{point}" for point in FOOT_POINTS)
PROBABILITY_PROPERTIES = tuple(f"contact_probability_{point}" for point in FOOT_POINTS)
_STEPS = {"left": "L step", "right": "R step"}  # the markers' names
# Earlier versions had two markers for each contact of a toe or heel, whose names overlapped.
_FORMER_MARKERS = {
    f"{side} {part} {event}" for side in "LR" for part in ("toe", "heel") for event in ("down", "up")
}  # fmt: skip


@dataclass(frozen=True)
class CustomProperty:
    """An animated custom property of an object, between 0 and 1."""

    name: str
    group: str  # of its F-curve in the action
    description: str
    interpolation: int = LINEAR


def write_contacts(keys: ActionKeys, armature: bpy.types.Object, planted: np.ndarray) -> None:
    """Key the contacts (F, 4) bool, in the order of FOOT_POINTS, and add a marker where a foot comes down."""
    for name, point, column in zip(CONTACT_PROPERTIES, FOOT_POINTS, planted.T, strict=True):
        description = f"1 where the {point.replace('_', ' ')} is planted"
        key_property(keys, armature, CustomProperty(name, "Contacts", description, CONSTANT), column)
    _update_markers(keys.action, planted, keys.frames)
    remember_steps(armature, keys.action)


def write_probabilities(keys: ActionKeys, armature: bpy.types.Object, probabilities: np.ndarray) -> None:
    """Key the network's contact probabilities (F, 4), 0 to 1, in the order of FOOT_POINTS."""
    for name, point, column in zip(PROBABILITY_PROPERTIES, FOOT_POINTS, probabilities.T, strict=True):
        description = f"How likely the {point.replace('_', ' ')} is on the floor"
        key_property(keys, armature, CustomProperty(name, "Contact probabilities", description), column)


def key_property(keys: ActionKeys, owner: bpy.types.Object, prop: CustomProperty, values: np.ndarray) -> None:
    """Key a custom property of an object with values (F,) between 0 and 1; the property is created if missing.

    One that is constant between keyframes has them at its changes only, so that these can be seen in the timeline, and
    at both ends, where its cycles begin and end if the motion is looped.
    """
    if prop.name not in owner:
        owner[prop.name] = 0.0
        owner.id_properties_ui(prop.name).update(min=0.0, max=1.0, description=prop.description)
    values = np.asarray(values, float)
    rows = np.arange(len(values))
    if prop.interpolation == CONSTANT:
        changes = np.diff(values, prepend=np.nan) != 0
        changes[-1] = True
        rows = np.flatnonzero(changes)
    keys.write(f'["{prop.name}"]', values[rows, None], prop.group, prop.interpolation, keys.frames[rows])


def _update_markers(action: bpy.types.Action, planted: np.ndarray, frames: np.ndarray) -> None:
    """Replace the contact markers: one where a foot with contacts (F, 4) comes down; other pose markers stay."""
    markers = action.pose_markers
    for marker in [marker for marker in markers if marker.name in {*_STEPS.values(), *_FORMER_MARKERS}]:
        markers.remove(marker)
    for side, name in _STEPS.items():
        foot = np.any(planted[:, [point.startswith(side) for point in FOOT_POINTS]], axis=1)
        for start, _ in true_intervals(foot):
            markers.new(name).frame = round(float(frames[start]))


def _step_markers(action: bpy.types.Action) -> list[tuple[str, int]]:
    return sorted((marker.name, marker.frame) for marker in action.pose_markers if marker.name in _STEPS.values())


def remember_steps(armature: bpy.types.Object, action: bpy.types.Action) -> None:
    """Keep where the step markers are, so that `with_moved_markers` tells which of them the user has moved."""
    armature.wham_motion.steps = json.dumps(_step_markers(action))


def with_moved_markers(
    armature: bpy.types.Object, action: bpy.types.Action, planted: np.ndarray, frames: np.ndarray
) -> np.ndarray:
    """Contacts (F, 4) at scene frames (F,) that begin where the user has moved their step markers.

    A contact whose marker was deleted ends; markers that were added mean nothing, as they do not say for how long.
    """
    stored = [(name, frame) for name, frame in json.loads(armature.wham_motion.steps or "[]")]
    present = _step_markers(action)
    result = planted.copy()
    for side, name in _STEPS.items():
        columns = [column for column, point in enumerate(FOOT_POINTS) if point.startswith(side)]
        was, now = (sorted(frame for each, frame in steps if each == name) for steps in (stored, present))
        gone = [frame for frame in was if frame not in now]
        new = [frame for frame in now if frame not in was]
        for frame in gone:
            # In time, markers stay in their order: the nearest new one is the same one, moved.
            goal = min(new, key=lambda each: abs(each - frame), default=None)
            if goal is not None:
                new.remove(goal)
            _move_step(result, planted, columns, frames, (frame, goal))
    return result


def _move_step(
    result: np.ndarray, planted: np.ndarray, columns: list[int], frames: np.ndarray, moved: tuple[int, int | None]
) -> None:
    """Have a foot's contact in ``result`` begin where its marker is now; None: the marker was deleted."""
    before, now = moved
    for begun, ended in true_intervals(np.any(planted[:, columns], axis=1)):
        if round(float(frames[begun])) != before:
            continue
        shift = 0 if now is None else int(np.abs(frames - now).argmin()) - int(begun)
        for column in columns:
            for start, stop in true_intervals(planted[:, column]):
                if begun <= start < ended and now is None:
                    result[start:stop, column] = False
                elif begun <= start < ended and start + shift < stop:
                    result[start:stop, column] = False
                    # What the heel does later than the toe stays as much later.
                    result[max(start + shift, 0) : stop, column] = True
                elif begun <= start < ended:  # beyond the contact's end: all of it moves
                    result[start:stop, column] = False
                    result[start + shift : stop + shift, column] = True
