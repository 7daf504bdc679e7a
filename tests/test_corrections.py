"""The document of corrections: what is written is read, and what cannot be is refused with a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wham_blender import corrections, limits
from wham_blender.corrections import (
    Box,
    Continued,
    Corrections,
    CorrectionsError,
    Distrusted,
    Part,
    Pinned,
    Place,
    Swapped,
)

HERE = Place(12, 0.25, 0.5)
CHANGES = (
    Distrusted(HERE, 3, 9),
    Swapped(HERE, 4, 5, Part.LOWER),
    Continued(HERE, Place(40, 0.75, 0.5), 38),
    Box(10, 1, 21, 0.1, 0.2, 0.4, 0.9),
    Box(10, 1, 21, 0.1, 0.2, 0.4, 0.9, HERE),
    Pinned(HERE, 12, 6.0, {"left_knee": (0.8, 0.6, 0.0, 0.0)}, (0.0, 0.1, 0.0)),
)
PIN = '{"pinned": [{"person": {"frame": 1, "x": 0, "y": 0}, "frame": 1, "falloff": 2, "rotations": {%s}}]}'


def test_what_is_written_is_read(tmp_path: Path) -> None:
    document = Corrections()
    for change in CHANGES:
        document = document.with_change(change)
    path = tmp_path / corrections.FILE_NAME
    path.write_text(document.text(), "utf-8")
    assert corrections.load(path) == document
    assert (len(document), document.boxes, document.swapped) == (6, CHANGES[3:5], CHANGES[1:2])
    assert document.for_worker() == replace(document, pinned=())
    assert json.loads(document.text())["swapped"][0]["part"] == "LOWER"
    assert not corrections.parse("", "nobody")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("[]", "not an object"),
        ("{", "Expecting"),
        ('{"version": 2}', "newer than this add-on reads"),
        ('{"distrusted": [{"first": 1, "last": 2}]}', "lacks person"),
        ('{"distrusted": [{"person": {"frame": 1, "x": 0, "y": 0}, "first": 9, "last": 2}]}', "end before they begin"),
        ('{"distrusted": [{"person": {"frame": 1, "x": 1e9, "y": 0}, "first": 1, "last": 2}]}', "not from -1 to 2"),
        ('{"swapped": [{"person": {"frame": 1, "x": 0, "y": 0}, "first": 1, "last": 2, "part": "LEGS"}]}', "LOWER"),
        ('{"boxes": [{"frame": 5, "first": 1, "last": 9, "x1": 0.5, "y1": 0, "x2": 0.5, "y2": 1}]}', "no area"),
        ('{"boxes": [{"frame": 50, "first": 1, "last": 9, "x1": 0, "y1": 0, "x2": 1, "y2": 1}]}', "in frames 1 to 9"),
        ('{"boxes": [{"frame": 5, "first": 1, "last": 999, "x1": 0, "y1": 0, "x2": 1, "y2": 1}]}', "more than 300"),
        ('{"boxes": [{"frame": 5, "first": 1, "last": 9, "x1": 1.2, "y1": 0, "x2": 1.9, "y2": 1}]}', "outside the pic"),
        (PIN % '"tail": [1, 0, 0, 0]', "the pose of frame 1 has rotations of no joint, or that are none"),
        (PIN % '"head": [0, 0, 0, 0]', "the pose of frame 1 has rotations"),
        (" " * (limits.CORRECTIONS_BYTES + 1), "has more than"),
    ],
)
def test_what_is_wrong_is_a_sentence(wrong: str, why: str) -> None:
    with pytest.raises(CorrectionsError, match=why) as caught:
        corrections.parse(wrong, "clip.mp4")
    assert str(caught.value).startswith("The corrections of clip.mp4 cannot be used: ")
    assert caught.value.code == "corrections-invalid"


def test_there_is_an_end_to_corrections(tmp_path: Path) -> None:
    full = Corrections(distrusted=(CHANGES[0],) * limits.CORRECTIONS)
    with pytest.raises(CorrectionsError, match="longer than 1000") as caught:
        full.with_change(Distrusted(HERE, 3, 999))
    assert caught.value.code == "correction-invalid"
    assert full.with_change(CHANGES[0]) == full  # it is there already
    twice = Corrections().with_change(CHANGES[1]).with_change(CHANGES[1])
    assert twice.swapped == CHANGES[1:2] * 2  # the second swap restores the sides
    with pytest.raises(CorrectionsError, match="cannot be read"):
        corrections.load(tmp_path)
