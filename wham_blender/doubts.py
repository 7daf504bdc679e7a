"""Finds where a character's animation is probably wrong, for an animator who has to look at the worst places first.

NumPy only; nothing here needs Blender.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import quaternions
from .animation import Animation
from .motion import true_intervals
from .skeleton import FOOT_POINTS, JOINT_NAMES, PHRASES

# Limits beyond which something is shown; set by hand, well above what the demo and calm walks have.
_LOW_CONFIDENCE = 0.45  # of the keypoints, the mean over the body
_SHORTEST = 0.1  # seconds of low confidence or without the person
_SLIDING = 0.2  # metres a second of a planted foot point
_LONGEST_SLIDE = 0.02  # metres; shorter movements are not seen
_BACKWARDS = 0.17  # radians by which a knee bends forward
_SUNK = -0.03  # metres: height of a foot point
_JUMP = 0.12  # metres by which a joint of an arm or leg leaves the straight line between the frames before and after
_JUMP_SPEED = 4.0  # times the usual acceleration of that joint in the second around it
_SAME = 0.15  # seconds: doubts of one kind that are nearer to each other are one


@dataclass(frozen=True)
class Doubt:
    """A range of scene frames in which something is probably wrong."""

    first: float
    last: float
    sentence: str  # for the animator: what is wrong, and what to do
    operator: str  # of ``bpy.ops.wham``, which helps; empty if none does by itself


def doubts(animation: Animation, rate: float) -> list[Doubt]:
    """All doubts of an animation in the order of their frames; ``rate``: scene frames a second."""
    positions, _ = animation.pose()
    feet = animation.foot_points()
    found = [
        *_unseen(animation, rate),
        *_sliding(animation, feet, rate),
        *_knees(animation, rate),
        *_sunk(animation, feet, rate),
        *_jumps(animation, positions, rate),
    ]
    return sorted(found, key=lambda doubt: doubt.first)


def next_doubt(found: list[Doubt], frame: float) -> Doubt | None:
    """The first doubt that begins after a scene frame; the first of all if none does; None if there are none."""
    return next((doubt for doubt in found if doubt.first > frame + 1e-3), found[0] if found else None)


def _ranges(animation: Animation, flags: np.ndarray, rate: float, shortest: float = 0.0) -> Iterator[tuple[int, int]]:
    """Rows (start, stop) of the runs of flags (F,); runs nearly next to each other are one, short ones are left out."""
    frames = animation.frames
    merged: list[list[int]] = []
    for start, stop in true_intervals(flags).tolist():
        if merged and frames[start] - frames[merged[-1][1] - 1] < _SAME * rate:
            merged[-1][1] = stop
        else:
            merged.append([start, stop])
    for start, stop in merged:
        if frames[stop - 1] - frames[start] >= shortest * rate:
            yield start, stop


def _doubt(animation: Animation, rows: tuple[int, int], operator: str, sentence: str) -> Doubt:
    return Doubt(float(animation.frames[rows[0]]), float(animation.frames[rows[1] - 1]), sentence, operator)


def _unseen(animation: Animation, rate: float) -> Iterator[Doubt]:
    """Frames in which the person was not seen, or hardly."""
    for rows in _ranges(animation, ~animation.visible, rate, _SHORTEST):
        yield _doubt(
            animation, rows, "",
            "The person was not seen here: the motion is filled in from before and after. Pose it by hand if the film "
            "shows otherwise.",
        )  # fmt: skip
    for rows in _ranges(animation, animation.visible & (animation.confidence < _LOW_CONFIDENCE), rate, _SHORTEST):
        yield _doubt(
            animation, rows, "smooth_motion",
            f"The keypoints are unsure here ({animation.confidence[slice(*rows)].mean():.0%}). Compare with the film; "
            "Smooth Motion removes jitter.",
        )  # fmt: skip


def _sliding(animation: Animation, feet: np.ndarray, rate: float) -> Iterator[Doubt]:
    """Planted foot points that slide; feet (F, 4, 3) metres, in the world."""
    if len(animation) < 2:
        return
    steps = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1)
    fast = steps / (np.diff(animation.frames)[:, None] / rate) > _SLIDING
    fast &= animation.contacts[1:] & animation.contacts[:-1]
    for column, point in enumerate(FOOT_POINTS):
        for start, stop in _ranges(animation, np.append(False, fast[:, column]), rate):
            length = float(steps[max(start - 1, 0) : stop - 1 + (start == 0), column].sum())
            if length >= _LONGEST_SLIDE:
                yield _doubt(
                    animation, (start, stop), "mark_contacts",
                    f"Here {PHRASES[point]} is planted but slides {100 * length:.0f} cm. If it moves in the film, use "
                    "Mark Contacts with a higher threshold.",
                )  # fmt: skip


def _knees(animation: Animation, rate: float) -> Iterator[Doubt]:
    """Knees that bend forward."""
    for side in ("left", "right"):
        bend = quaternions.to_axis_angle(animation.rotations[:, JOINT_NAMES.index(f"{side}_knee")])[:, 0]
        for rows in _ranges(animation, bend < -_BACKWARDS, rate):
            worst = np.degrees(-bend[slice(*rows)].min())
            yield _doubt(
                animation, rows, "smooth_motion",
                f"Here {PHRASES[f'{side}_knee']} bends forward by {worst:.0f} degrees. Rotate it back by hand, or use "
                "Smooth Motion.",
            )  # fmt: skip


def _sunk(animation: Animation, feet: np.ndarray, rate: float) -> Iterator[Doubt]:
    """Feet (F, 4, 3), metres in the world, below the floor at z = 0."""
    lowest = feet[..., 2].min(1)
    for rows in _ranges(animation, lowest < _SUNK, rate):
        depth = -100 * lowest[slice(*rows)].min()
        yield _doubt(
            animation, rows, "set_floor",
            f"A foot is {depth:.0f} cm below the floor. Set Floor Level moves the motion onto it.",
        )  # fmt: skip


def _jumps(animation: Animation, positions: np.ndarray, rate: float) -> Iterator[Doubt]:
    """Single frames in which a wrist or ankle jumps; positions (F, J, 3) of the joints, metres in the world."""
    if len(animation) < 3:
        return
    near = max(round(rate / 2), 3)
    for name in ("left_wrist", "right_wrist", "left_ankle", "right_ankle"):
        path = positions[:, JOINT_NAMES.index(name)]
        away = np.linalg.norm(path[1:-1] - (path[:-2] + path[2:]) / 2, axis=1)
        padded = np.pad(away, near, mode="reflect" if len(away) > near else "edge")
        usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1), axis=1)
        flags = np.pad((away > _JUMP) & (away > _JUMP_SPEED * usual), 1)
        for rows in _ranges(animation, flags, rate):
            most = 100 * away[max(rows[0] - 1, 0) : rows[1] - 1].max()
            yield _doubt(
                animation, rows, "smooth_motion",
                f"Here {PHRASES[name]} jumps by {most:.0f} cm in a frame. Delete its bad keyframes, or use Smooth "
                "Motion.",
            )  # fmt: skip
