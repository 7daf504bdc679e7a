"""Finds jump cuts: places where a piece of the film is missing while the camera and its background stand still.

Two signs must come together: the picture changes more at once than in the frames around, and no person who moves goes
on as their speed before and after allows. The first alone is a flash or a lens flare, the second alone a failure of the
tracker.
"""

from __future__ import annotations

import numpy as np

from .types import Detections, is_confident

# Judged on eight real clips, also at 15 and 10 fps, and on cuts of 0.5 to 2 seconds made in them.
_NEIGHBOURS = 3  # frames on each side with which a change is compared: more than a slowed film repeats a frame
_SPIKE = 1.7  # times the largest change of the frames around
_JUMP = 0.045  # of the body's size: a quarter of the points are so far from where they could be, or farther ...
_JUMP_PER_SECOND = 0.6  # ... and its growth with the seconds between two frames, in which speeds change
_PEAK = 2.0  # times the jumps before and after this one: a tracker that fails jumps repeatedly
_STILL = 0.02  # of the body's size: who moves less over the cut proves nothing
_MIN_POINTS = 6  # confident in both frames
_SEARCH = 15  # network frames in which somebody who was lost is looked for


def find_jumps(detections: Detections, change: np.ndarray) -> np.ndarray:
    """Network frames, rising, before which a piece of the film is missing.

    change (L,): mean difference of each network frame's picture from the one before, in grey levels.
    """
    return np.array([frame for frame in sudden_changes(change) if _people_jump(detections, int(frame))], np.int64)


def sudden_changes(change: np.ndarray) -> np.ndarray:
    """Network frames whose picture differs more from the one before than the frames around do from theirs."""
    count = len(change)
    return np.array(
        [
            frame
            for frame in range(2, count - 1)
            if change[frame]
            > _SPIKE
            * max(change[max(1, frame - _NEIGHBOURS) : frame].max(), change[frame + 1 : frame + 1 + _NEIGHBOURS].max())
        ],
        np.int64,
    )


def _people_jump(detections: Detections, frame: int) -> bool:
    """Whether somebody is elsewhere after a network frame begins, and nobody moves on evenly into it."""
    rows = {number: _rows(detections, number) for number in range(frame - 3, frame + _SEARCH + 2)}
    known = rows[frame - 2].keys() | rows[frame - 1].keys()
    begun = [
        (number, track)
        for number in range(frame, frame + _SEARCH + 1)
        for track in rows[number].keys() - rows[number - 1].keys() - known
    ]

    def jump(before: tuple[int, int], after: tuple[int, int]) -> tuple[float, float]:
        """Of one person from a (frame, track) to another, as `_jump`."""
        (last, track), (first, other) = before, after
        around = rows[last - 1].get(track), rows[first + 1].get(other)
        return _jump(detections, rows[last][track], rows[first][other], *around)

    jumped = False
    for track in rows[frame - 1]:
        here = frame - 1, track
        off, moved = min((jump(here, after) for after in begun), default=(0.0, 0.0))
        if track in rows[frame]:
            off, moved = jump(here, (frame, track))
            # Not the next frame: in the first after a cut, the landmark net's crop is where the person was before.
            pairs = ((number, number + 1) for number in (frame - 2, frame + 1))
            nearby = [jump((a, track), (b, track))[0] for a, b in pairs if track in rows[a] and track in rows[b]]
            if 1 < off < _PEAK * max(nearby, default=0.0):
                continue
        if off > 1:
            jumped = True
        elif moved > _STILL:
            return False
    return jumped


def _rows(detections: Detections, frame: int) -> dict[int, int]:
    """Rows of the detections in a network frame, by their tracks."""
    first, last = np.searchsorted(detections.row_frame, [frame, frame + 1])
    return {int(detections.track[row]): row for row in range(first, last)}


def _jump(detections: Detections, last: int, first: int, before: int | None, after: int | None) -> tuple[float, float]:
    """How far a person is from where they could be, over what changes of speed explain, and how far they moved.

    ``last``, ``first``: the rows on both sides of a cut; ``before``, ``after``: those farther from it, None if there is
    none. The second distance is in sizes of the body. Both are 0 if too few points are confident.
    """
    keypoints = detections.keypoints
    both = is_confident(keypoints[last]) & is_confident(keypoints[first])
    if both.sum() < _MIN_POINTS:
        return 0.0, 0.0

    def step(since: int, to: int) -> tuple[np.ndarray, float]:
        """Movement of the points (n, 2), pixels, from one row to another, and the seconds between them."""
        points = keypoints[to, both, :2].astype(np.float64) - keypoints[since, both, :2]
        begin, end = detections.frame_times[detections.network_frames[detections.row_frame[[since, to]]]]
        return points, float(end - begin)

    moved, seconds = step(last, first)
    pairs = ((before, last), (first, after))
    known = [step(since, to) for since, to in pairs if since is not None and to is not None]
    likely = [points * (seconds / duration) for points, duration in known] or [np.zeros_like(moved)]
    # The person moves on evenly if the step lies between those that the speeds before and after give.
    change = likely[-1] - likely[0]
    fraction = ((moved - likely[0]) * change).sum(-1) / np.maximum((change**2).sum(-1), 1e-9)
    off = np.linalg.norm(moved - likely[0] - fraction.clip(0, 1)[:, None] * change, axis=-1)
    size = max(float(np.ptp(keypoints[row, both, :2], axis=0).max()) for row in (last, first))
    allowed = size * (_JUMP + _JUMP_PER_SECOND * seconds)
    return float(np.quantile(off, 0.75)) / allowed, float(np.median(np.linalg.norm(moved, axis=-1))) / size
