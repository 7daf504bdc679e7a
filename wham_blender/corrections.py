"""Corrections that an animator makes to what was seen in a clip: one JSON document, shared by add-on and worker.

It names frames by their numbers in the clip and people by a place in one frame, so that it still holds when the clip
is processed again and people are found and numbered anew. The character keeps it, and so does the job's folder, in
``corrections.json``.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from . import limits, records
from .errors import CodedError, reason
from .files import read_bounded
from .records import AtMost, InvalidRecord, Within
from .skeleton import ALL_JOINT_NAMES

VERSION = 1
FILE_NAME = "corrections.json"  # in a job's folder

_Frame = Annotated[int, Within(1, limits.CLIP_FRAME)]
_Fraction = Annotated[float, Within(-1, 2)]  # people reach beyond the picture
_Component = Annotated[float, Within(-1, 1)]  # of a quaternion
_Metres = Annotated[float, Within(-1000, 1000)]


class CorrectionsError(CodedError):
    """A document of corrections cannot be used; the text is a sentence for the animator."""


class Part(enum.Enum):
    """The part of a body whose left and right are swapped, as people/left_right.py divides it."""

    ALL = "body"
    UPPER = "upper body"
    LOWER = "legs"


@dataclass(frozen=True)
class Place:
    """The person who is there in a frame."""

    frame: _Frame
    x: _Fraction  # of the picture's width: the middle between the hips
    y: _Fraction  # of the picture's height, from the top


@dataclass(frozen=True)
class Distrusted:
    """In these frames a person was seen wrongly: they count as not seen, and are bridged."""

    person: Place
    first: _Frame
    last: _Frame


@dataclass(frozen=True)
class Swapped:
    """In these frames left and right of a person were taken for each other."""

    person: Place
    first: _Frame
    last: _Frame
    part: Part = Part.ALL


@dataclass(frozen=True)
class Continued:
    """From a frame on, the person is the one who is seen at ``other``; who was taken for them is somebody else."""

    person: Place
    other: Place
    first: _Frame


@dataclass(frozen=True)
class Box:
    """A box around a person, drawn in one frame, from which they are followed to the first and the last frame."""

    frame: _Frame
    first: _Frame
    last: _Frame
    x1: _Fraction  # of the picture's width and height, from the top left
    y1: _Fraction
    x2: _Fraction
    y2: _Fraction
    person: Place | None = None  # whose frames these are; None: somebody whom nobody has found


@dataclass(frozen=True)
class Pinned:
    """In a frame a person has a pose that the animator has given them; the motion around it is blended into it.

    The add-on applies it; the worker does not know of it.
    """

    person: Place
    frame: _Frame
    falloff: Annotated[float, Within(0, limits.CLIP_FRAME)]  # frames of the clip before and after
    # Of the joints that were posed, by their names: quaternions w x y z from rest, relative to the parent's; of the
    # pelvis, relative to the pelvis of the motion.
    rotations: Annotated[dict[str, tuple[_Component, ...]], AtMost(len(ALL_JOINT_NAMES))]
    moved: tuple[_Metres, ...] = (0.0, 0.0, 0.0)  # of the pelvis, in its axes as the motion has them


Change = Distrusted | Swapped | Continued | Box | Pinned


@dataclass(frozen=True)
class Corrections:
    """All corrections of one clip."""

    version: Annotated[int, Within(1, VERSION)] = VERSION
    distrusted: Annotated[tuple[Distrusted, ...], AtMost(limits.CORRECTIONS)] = ()
    swapped: Annotated[tuple[Swapped, ...], AtMost(limits.CORRECTIONS)] = ()
    continued: Annotated[tuple[Continued, ...], AtMost(limits.CORRECTIONS)] = ()
    boxes: Annotated[tuple[Box, ...], AtMost(limits.CORRECTIONS)] = ()
    pinned: Annotated[tuple[Pinned, ...], AtMost(limits.CORRECTIONS)] = ()

    def __len__(self) -> int:
        return sum(len(getattr(self, name)) for name in KINDS.values())

    def text(self) -> str:
        """The document as JSON."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return json.dumps(values, indent=1, default=lambda value: value.name)

    def with_change(self, change: Change) -> Corrections:
        """The document with one more correction. Raises CorrectionsError as `parse`, of that one.

        One that it has already is not added, except for swapped sides, which a second swap restores.
        """
        name = KINDS[type(change)]
        if change in getattr(self, name) and not isinstance(change, Swapped):
            return self
        changed = replace(self, **{name: (*getattr(self, name), change)})  # type: ignore[arg-type]
        try:
            return _parsed(changed.text())
        except InvalidRecord as error:
            raise CorrectionsError(
                f"This correction cannot be used: {reason(error)}. Give it other values; those made before are kept.",
                code="correction-invalid",
            ) from error

    def for_worker(self) -> Corrections:
        """The document without what the add-on applies itself."""
        return replace(self, pinned=())


# The field of the document with the corrections of each kind
KINDS: dict[type, str] = {
    Distrusted: "distrusted", Swapped: "swapped", Continued: "continued", Box: "boxes", Pinned: "pinned",
}  # fmt: skip
NO_CORRECTIONS = Corrections()


def parse(text: str | bytes, owner: str) -> Corrections:
    """The document of JSON text; without text, an empty one. Raises CorrectionsError, which names the owner."""
    try:
        return _parsed(text)
    except InvalidRecord as error:
        raise CorrectionsError(
            f"The corrections of {owner} cannot be used: {reason(error)}. Correct them, or use Clear Corrections and "
            "make them again.",
            code="corrections-invalid",
        ) from error


def _parsed(text: str | bytes) -> Corrections:
    """The document of JSON text. Raises InvalidRecord."""
    values = records.parse(text, limits.CORRECTIONS_BYTES) if text else {}
    if isinstance(values, dict) and isinstance(values.get("version"), int) and values["version"] > VERSION:
        raise InvalidRecord(f"it has version {values['version']}, newer than this add-on reads")
    document = records.make(Corrections, values, "corrections")
    _check(document)
    return document


def _check(document: Corrections) -> None:
    """Raise InvalidRecord for ranges that end before they begin, and for boxes without area."""
    changes: list[Distrusted | Swapped | Box] = [*document.distrusted, *document.swapped, *document.boxes]
    for change in changes:
        if change.last < change.first:
            raise InvalidRecord(f"frames {change.first} to {change.last} end before they begin")
    for box in document.boxes:
        if not box.first <= box.frame <= box.last:
            raise InvalidRecord(f"the box of frame {box.frame} is used in frames {box.first} to {box.last} only")
        if box.last - box.first >= limits.BOX_FRAMES:
            raise InvalidRecord(
                f"the box of frame {box.frame} is used in more than {limits.BOX_FRAMES} frames; draw another one later"
            )
        if box.x2 - box.x1 < _SMALLEST or box.y2 - box.y1 < _SMALLEST:
            raise InvalidRecord(f"the box of frame {box.frame} has no area")
        if max(box.x1, box.y1) >= 1 or min(box.x2, box.y2) <= 0:
            raise InvalidRecord(f"the box of frame {box.frame} is outside the picture")
    for pin in document.pinned:
        rotations = pin.rotations.values()  # unit quaternions whose components were rounded
        are_rotations = all(len(each) == 4 and abs(sum(part * part for part in each) - 1) < 0.01 for each in rotations)
        if not are_rotations or pin.rotations.keys() - set(ALL_JOINT_NAMES) or len(pin.moved) != 3:
            raise InvalidRecord(f"the pose of frame {pin.frame} has rotations of no joint, or that are none")


_SMALLEST = 0.01  # of the picture's sides: nobody can be recognised in a smaller box


def load(path: Path) -> Corrections:
    """The document of a file. Raises CorrectionsError if it cannot be read."""
    try:
        content = read_bounded(path, limits.CORRECTIONS_BYTES)
    except OSError as error:
        raise CorrectionsError(
            f"The corrections in {path.name} cannot be read: {error.strerror or reason(error)}. Check the path.",
            code="corrections-unreadable",
        ) from error
    return parse(content, path.name)
