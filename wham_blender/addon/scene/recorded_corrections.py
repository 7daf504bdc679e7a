"""The corrections that a character keeps: one document for each clip, the same on all characters imported from it.

They are recorded by the clip's frames and by places in its picture, so that the worker can apply them when the clip is
processed again.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import bpy
import numpy as np

from ...corrections import KINDS, Change, Corrections, Part, Place, parse
from ...motion import Motion
from ...skeleton import COCO_NAMES
from . import character

_HIPS = [COCO_NAMES.index("left_hip"), COCO_NAMES.index("right_hip")]
_MOST_PLACES = 2_000  # kept of a character, evenly distributed over its frames: 40 kB
_LIMBS = {Part.ALL: "the entire body", Part.UPPER: "the arms", Part.LOWER: "the legs"}  # in sentences
_NEAR = 0.1  # of the picture's sides: whoever is farther from a place is somebody else; set by hand
_OUTSIDE = 2.0  # of the picture's sides: places farther away are no places of corrections


def document(armature: bpy.types.Object) -> Corrections:
    """The corrections of a character's clip. Raises CorrectionsError if a script has damaged them."""
    return parse(armature.wham_motion.corrections, armature.name)


def store(armature: bpy.types.Object, corrections: Corrections) -> None:
    """Keep the corrections of a clip on a character and on all others that were imported from the same clip."""
    record = armature.wham_motion
    text = corrections.text() if corrections else ""
    for obj in [armature, *bpy.data.objects]:
        other = obj.wham_motion
        if other.take and (other.take == record.take or (record.job and other.job == record.job)):
            other.corrections = text


def add(armature: bpy.types.Object, change: Change) -> None:
    """Keep one more correction. Raises CorrectionsError if it is not valid."""
    store(armature, document(armature).with_change(change))


def write_places(armature: bpy.types.Object, person: Motion) -> None:
    """Keep where in the picture a person is seen, by which the person is found when the clip is processed again."""
    width, height = person.meta.get("size") or (0, 0)
    hips = person.keypoints[:, _HIPS]
    rows = np.flatnonzero(person.visible & (hips[..., 2] > 0).all(1)) if width and height else np.zeros(0, int)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_PLACES)).round().astype(int))]
    places = hips[rows, :, :2].mean(1) / [width or 1, height or 1]
    near = (np.abs(places - 0.5) < _OUTSIDE - 0.5).all(1)
    kept = zip(person.frame[rows[near]].tolist(), places[near].round(4).tolist(), strict=True)
    armature.wham_motion.places = json.dumps([[frame, *place] for frame, place in kept])


def _places(armature: bpy.types.Object) -> np.ndarray:
    """Frames of the clip and places (n, 3) of a character."""
    return np.array(json.loads(armature.wham_motion.places or "[]"), float).reshape(-1, 3)


def place_before(armature: bpy.types.Object, frame: int) -> Place | None:
    """Where the person is seen last before a frame of the clip; None if there is no such frame."""
    places = _places(armature)
    earlier = places[places[:, 0] < frame]
    return Place(int(earlier[-1, 0]), *map(float, earlier[-1, 1:])) if len(earlier) else None


def place_from(armature: bpy.types.Object, frame: int) -> Place | None:
    """Where the person is seen first in a frame of the clip or after it; None if there is no such frame."""
    places = _places(armature)
    later = places[places[:, 0] >= frame]
    return Place(int(later[0, 0]), *map(float, later[0, 1:])) if len(later) else None


def place_of(armature: bpy.types.Object, first: float, last: float) -> Place | None:
    """Where the person is seen in the frame of the clip nearest to frames first to last, outside of them if possible.

    None if the character does not know.
    """
    places = _places(armature)
    if not len(places):
        return None
    away = np.maximum(first - places[:, 0], places[:, 0] - last)
    frame, x, y = places[np.where(away > 0, away, 1e9 - away).argmin()]
    return Place(int(frame), float(x), float(y))


def seen_range(armature: bpy.types.Object, first: float, last: float) -> tuple[int, int, Place] | None:
    """The frames of the clip at scene frames, and a place of the person; None if the character does not know them."""
    begin, end = character.clip_frame(armature, math.ceil(first - 1e-3)), character.clip_frame(armature, last)
    if begin is None or end is None:
        return None
    place = place_of(armature, begin, end)
    return None if place is None else (begin, end, place)


def person_at(armatures: list[bpy.types.Object], place: Place) -> bpy.types.Object | None:
    """The character who is seen at a place of the picture, or nearest to it; None if nobody is near."""
    near = []
    for armature in armatures:
        if len(places := _places(armature)):
            row = np.abs(places[:, 0] - place.frame).argmin()
            near.append((float(np.linalg.norm(places[row, 1:] - [place.x, place.y])), armature.name, armature))
    distance, _, nearest = min(near, default=(np.inf, "", None))
    return nearest if distance < _NEAR else None


def sentences(corrections: Corrections) -> list[str]:
    """What each correction says, for the panel, in the order of `without`."""
    return [
        *(f"Frames {each.first} to {each.last} distrusted" for each in corrections.distrusted),
        *(
            f"Left and right swapped, {_LIMBS[each.part]}: frames {each.first} to {each.last}"
            for each in corrections.swapped
        ),
        *(f"Another track from frame {each.first} on" for each in corrections.continued),
        *(f"Box in frame {each.frame}, for frames {each.first} to {each.last}" for each in corrections.boxes),
        *(f"Pose in frame {each.frame}" for each in corrections.pinned),
    ]


def without(corrections: Corrections, number: int) -> Corrections:
    """The corrections without one of them, counted from 0 as `sentences` lists them."""
    kept: dict[str, tuple[Change, ...]] = {}
    for name in KINDS.values():
        changes = getattr(corrections, name)
        kept[name] = tuple(change for row, change in enumerate(changes) if row != number)
        number -= len(changes)
    return replace(corrections, **kept)  # type: ignore[arg-type]


PARTS = [
    (
        Part.ALL.name,
        "Body",
        "All limbs, and the body rotated by 180 degrees: it was seen from behind and taken for its front",
    ),
    (Part.UPPER.name, "Arms", "The upper body"),
    (Part.LOWER.name, "Legs", "The legs"),
]
