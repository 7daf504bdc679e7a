"""What the detections tell about a clip itself: its cuts and repetitions, how it was held, whether it is too short."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..camera.repeats import Repeat, find_repeats
from ..people import jump_cuts
from ..people.orientation import quarter_turn
from ..people.types import Detections
from .context import JobContext
from .detect import Detected

# Seconds of a clip below which neither a step nor the floor can be told from it: a step takes half a second, and WHAM
# averages speeds and contacts over a good part of that.
_SHORT = 0.5
# Of the picture's height, for the longer side of the keypoints' box. In three real clips made smaller, people were
# found in 51 to 60 of 60 frames at this size, in 0 to 60 at an eighth, and in two of the three not at all at a tenth.
SMALLEST_PERSON = 1 / 6
_MOST_LISTED = 50  # cuts or repetitions in a sentence


def check_clip(context: JobContext, detections: Detections) -> None:
    """Warn of a clip that is very short, and of one that lies on its side or stands on its head."""
    job = context.job
    times = detections.frame_times[detections.network_frames]
    seconds = float(np.ptp(times)) + float(np.median(np.diff(times)))
    if seconds < _SHORT:
        context.warn(
            f"{job.clip.name} shows only {seconds:.2f} seconds ({len(times)} frames looked at): too little to tell a "
            "movement from the networks' errors. Choose a longer clip or range.",
            code="clip-very-short",
        )
    turn = quarter_turn(detections)
    if turn:
        rotate = (job.rotate + turn) % 360
        seen = (
            f"The people in {job.clip.name} are upside down nearly all the time."
            if turn == 180
            else f"The people in {job.clip.name} lie on their sides nearly all the time."
        )
        context.warn(
            f"{seen} If they stood in reality, import the clip again with Rotate Clip set to {rotate}° (--rotate "
            f"{rotate}).",
            code="clip-turned",
        )


def parts(context: JobContext, detected: Detected) -> np.ndarray:
    """The part of the film (L,) to which each network frame belongs, from 0, -1 in repetitions; warns of both."""
    background = detected.background
    jumps = jump_cuts.find_jumps(detected.detections, background.change)
    cuts = np.union1d(np.flatnonzero(np.diff(background.shot)) + 1, jumps)
    repeats = find_repeats(background.thumbnails, cuts, jump_cuts.sudden_changes(background.change))
    part = part_numbers(len(background.shot), cuts, repeats)
    numbers = detected.detections.frame_numbers[detected.detections.network_frames]
    frames = [str(numbers[cut]) for cut in cuts if part[cut] >= 0]
    name = context.job.clip.name
    if frames:
        context.warn(
            f"{name} has cuts at frames {_listed(frames)}: the parts become separate motions. "
            "Choose the person ALL to import every part.",
            code="clip-has-cuts",
        )
    if repeats:
        ranges = [f"{numbers[each.first]} to {numbers[each.end - 1]}" for each in repeats]
        context.warn(
            f"{name} repeats itself: frames {_listed(ranges)} show what earlier ones have shown, and are left out. "
            "Repeat the motion in Blender instead, with Loop Motion.",
            code="clip-repeats",
        )
    return part


def part_numbers(count: int, cuts: np.ndarray, repeats: Sequence[Repeat]) -> np.ndarray:
    """As `parts`, for ``count`` network frames, of which those at ``cuts`` begin a part."""
    starts = np.union1d(cuts, [each.end for each in repeats]).astype(np.int64)
    part = np.searchsorted(starts, np.arange(count), "right")
    for each in repeats:
        part[each.first : each.end] = -1
    return part


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _MOST_LISTED} more" if len(items) > _MOST_LISTED else ""
    return ", ".join(items[:_MOST_LISTED]) + more
