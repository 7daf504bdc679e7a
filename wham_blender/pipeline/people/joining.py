"""Joins pieces of tracks into whole tracks: one for each person, who is one person from beginning to end.

Four things go wrong while people are tracked, and are put right here with all frames known: a track goes on with
somebody else, two people change their tracks where they meet, a person is lost and found again as a new one, and a
person is tracked twice.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from .appearance import difference, typical
from .types import Detections, wham_boxes

# Two pieces of one person's track: the longest gap in time, the largest ratio of their sizes, the largest distance in
# sizes, and its growth per second of the gap, because people run and jump. Longer gaps, of people in the same clothes
# who were next to somebody as they were lost or found: behind them, mostly. Set by hand.
_MAX_GAP_SECONDS, _MAX_GAP_BEHIND_SOMEBODY = 2.0, 4.0
_MAX_SIZE_RATIO, _MAX_SIZE_RATIO_IN_SAME_CLOTHES = 1.5, 2.0  # who is tucked up is half as large as upright
_MAX_DISTANCE, _MAX_DISTANCE_GROWTH = 1.0, 1.5
_MAX_OVERLAP_SECONDS = 0.2  # in which a piece that has lost the person goes on while the next has them already
_TOUCH = 0.2  # overlap of two people's boxes over the smaller, above which their colours may be mixed
_END_ROWS = 15  # of a piece where it is joined, whose size may fit as well: who kneels may rise later; set by hand
_ENOUGH_ROWS = 5  # of a person apart from others, from which the colours are told
# CIELAB units (lightness halved) between two descriptions of one person's clothes; light and shadow make some of it.
_SAME_COLOURS = 20.0  # the most
_EXCHANGED = 8.0  # how much better, on the average of both, the other assignment must be to exchange two people
# A track that goes on with somebody else: the keypoints jump by this many body sizes between two frames, and the
# clothes in so many frames before and after differ by so many units. Set on a made film of training motion in which a
# couple crosses (0.15 and 24); somersaults and shadows in eight real clips have one or the other.
_SLIP_JUMP, _SLIP_ROWS, _SLIP_COLOURS = 0.1, 10, 18.0
_SLIP_MARGIN = 3  # frames next to the jump that are left out: there the points are on both people; set by hand
SAME_POSE = 0.12  # body sizes: mean distance of the keypoints of two tracks that are one person's


def join_tracks(detections: Detections, pieces: list[np.ndarray], part: np.ndarray) -> list[np.ndarray]:
    """Rows of whole tracks, each in order of time, from rows (n,) of pieces; part (L,): as of `build_people`."""
    boxes = wham_boxes(detections.keypoints, include_hidden=True)
    pieces = [piece for rows in pieces if len(rows) for piece in _without_slips(detections, rows)]
    alone = _alone(detections, boxes)
    pieces = _without_exchanges(detections, pieces, boxes, alone)
    return _without_doubles(detections, _without_gaps(detections, pieces, part, alone))


def _without_slips(detections: Detections, rows: np.ndarray) -> list[np.ndarray]:
    """The rows of a track, parted where it goes on with somebody else."""
    if not detections.appearance.size or len(rows) < 2 * _ENOUGH_ROWS:
        return [rows]
    jump = pose_distance(detections, rows[:-1], rows[1:])
    cuts = []
    for run in _runs(jump > _SLIP_JUMP):
        cut = int(run[jump[run].argmax()]) + 1
        last, first = cut - _SLIP_MARGIN, cut + _SLIP_MARGIN
        before, after = rows[max(0, last - _SLIP_ROWS) : max(0, last)], rows[first : first + _SLIP_ROWS]
        if min(len(before), len(after)) >= _ENOUGH_ROWS:
            colours = (typical(detections.appearance[side]) for side in (before, after))
            if difference(*colours) > _SLIP_COLOURS:  # False if one is unknown
                cuts.append(cut)
    return np.split(rows, cuts)


def _without_exchanges(
    detections: Detections, pieces: list[np.ndarray], boxes: np.ndarray, alone: np.ndarray
) -> list[np.ndarray]:
    """Exchange the rows of two tracks after they met, where the clothes say that each went on as the other."""
    if not detections.appearance.size:
        return pieces
    pieces = list(pieces)
    for first, second in combinations(range(len(pieces)), 2):
        pair = [pieces[first], pieces[second]]
        common, *places = np.intersect1d(*(detections.row_frame[rows] for rows in pair), return_indices=True)
        mine, others = (rows[place] for rows, place in zip(pair, places, strict=True))
        for meeting in _runs(_overlap(boxes[mine], boxes[others]) > _TOUCH):
            pair = [pieces[first], pieces[second]]
            if _exchanged(detections, [rows[alone[rows]] for rows in pair], common[meeting[[0, -1]]]):
                nearest = meeting[pose_distance(detections, mine[meeting], others[meeting]).argmin()]
                parts = [
                    np.split(rows, [np.searchsorted(detections.row_frame[rows], common[nearest])]) for rows in pair
                ]
                pieces[first], pieces[second] = (
                    np.concatenate([before, after])
                    for (before, _), (_, after) in zip(parts, reversed(parts), strict=True)
                )
    return pieces


def _exchanged(detections: Detections, pair: list[np.ndarray], meeting: np.ndarray) -> bool:
    """Whether each of two tracks looks after a meeting, from frame to frame (2,), as the other did before."""
    before = [rows[detections.row_frame[rows] < meeting[0]] for rows in pair]
    after = [rows[detections.row_frame[rows] > meeting[1]] for rows in pair]
    if min(map(len, before + after)) < _ENOUGH_ROWS:
        return False
    colours = [[typical(detections.appearance[rows]) for rows in side] for side in (before, after)]
    kept = sum(difference(*each) for each in zip(*colours, strict=True))
    exchanged = sum(difference(*each) for each in zip(colours[0], reversed(colours[1]), strict=True))
    return (kept - exchanged) / 2 > _EXCHANGED  # False if one is unknown


def _without_gaps(
    detections: Detections, pieces: list[np.ndarray], part: np.ndarray, alone: np.ndarray
) -> list[np.ndarray]:
    """Join pieces if one begins soon after the other ended, nearby, with a similar size and in similar clothes.

    Repeated as long as there are fewer: of a piece of a few frames the clothes are unknown, and the piece before fits
    only once it is joined to the one after.
    """
    while len(joined := _with_next(detections, pieces, part, alone)) < len(pieces):
        pieces = joined
    return joined


def _with_next(
    detections: Detections, pieces: list[np.ndarray], part: np.ndarray, alone: np.ndarray
) -> list[np.ndarray]:
    """Each piece joined to the best of those before it, if it fits."""
    seconds = detections.frame_times[detections.network_frames][detections.row_frame]
    boxes = wham_boxes(detections.keypoints)
    joined: list[np.ndarray] = []
    for piece in sorted(pieces, key=lambda rows: seconds[rows[0]]):
        best, least_distance = None, 1.0
        for index, rows in enumerate(joined):
            gap = seconds[piece[0]] - seconds[rows[-1]]
            smaller, larger = min(
                (sorted(float(np.median(boxes[each, 2])) for each in pair)
                 for pair in ((rows, piece), (rows[-_END_ROWS:], piece[:_END_ROWS]))),
                key=lambda sizes: sizes[1] / sizes[0],
            )  # fmt: skip
            distance = float(np.linalg.norm(boxes[rows[-1], :2] - boxes[piece[0], :2])) / (200 * larger)
            same_part = part[detections.row_frame[rows[-1]]] == part[detections.row_frame[piece[0]]]
            distance /= _MAX_DISTANCE + _MAX_DISTANCE_GROWTH * min(max(gap, 0), _MAX_GAP_SECONDS)
            longest = _MAX_GAP_SECONDS if alone[[rows[-1], piece[0]]].all() else _MAX_GAP_BEHIND_SOMEBODY
            in_time = -_MAX_OVERLAP_SECONDS < gap <= longest and seconds[piece[-1]] > seconds[rows[-1]]
            if not (same_part and in_time and distance < least_distance):
                continue
            ratio = _max_size_ratio(detections, rows, piece)
            known = gap <= _MAX_GAP_SECONDS or ratio == _MAX_SIZE_RATIO_IN_SAME_CLOTHES
            if known and larger < smaller * ratio:
                best, least_distance = index, distance
        if best is None:
            joined.append(piece)
        else:
            before = joined[best][seconds[joined[best]] < seconds[piece[0]]]
            joined[best] = np.concatenate([before, piece])
    return joined


def _without_doubles(detections: Detections, tracks: list[np.ndarray]) -> list[np.ndarray]:
    """Join tracks that show one body in most of the frames that they share; the longer one's rows are kept there."""
    kept: list[np.ndarray] = []
    for track in sorted(tracks, key=len, reverse=True):
        for index, other in enumerate(kept):
            common, mine, others = np.intersect1d(
                detections.row_frame[track], detections.row_frame[other], return_indices=True
            )
            if len(common) and np.median(pose_distance(detections, track[mine], other[others])) < SAME_POSE:
                more = np.union1d(other, np.delete(track, mine))
                kept[index] = more[np.argsort(detections.row_frame[more], kind="stable")]
                break
        else:
            kept.append(track)
    return kept


def _max_size_ratio(detections: Detections, first: np.ndarray, second: np.ndarray) -> float:
    """The largest ratio of sizes of two pieces that may be one person, by their clothes; 0 if these are different."""
    if not detections.appearance.size:
        return _MAX_SIZE_RATIO
    apart = difference(*(typical(detections.appearance[rows]) for rows in (first, second)))
    if np.isnan(apart):
        return _MAX_SIZE_RATIO
    return _MAX_SIZE_RATIO_IN_SAME_CLOTHES if apart < _SAME_COLOURS else 0.0


def _alone(detections: Detections, boxes: np.ndarray) -> np.ndarray:
    """Which rows show somebody whose box overlaps with nobody's in the same frame, (N,) bool."""
    alone = np.ones(len(boxes), bool)
    for rows in np.split(np.arange(len(boxes)), np.flatnonzero(np.diff(detections.row_frame)) + 1):
        for first, second in combinations(rows, 2):
            if _overlap(boxes[[first]], boxes[[second]])[0] > _TOUCH:
                alone[[first, second]] = False
    return alone


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Overlap (n,) of squares (n, 3) cx, cy, s of `wham_boxes`, over the smaller one; their sides are 200 s pixels."""
    near, far = ([each[:, :2] + sign * 100 * each[:, 2:] for each in (first, second)] for sign in (-1, 1))
    shared = np.prod((np.minimum(*far) - np.maximum(*near)).clip(0), axis=1)
    return shared / np.minimum(200 * first[:, 2], 200 * second[:, 2]).clip(1) ** 2


def pose_distance(detections: Detections, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean distance (n,) between the keypoints of rows (n,) and (n,), in sizes of the larger body."""
    points = [detections.keypoints[rows, :, :2].astype(np.float64) for rows in (first, second)]
    sizes = np.maximum(*(np.ptp(each, axis=1).max(1) for each in points)).clip(1)
    return np.linalg.norm(points[0] - points[1], axis=2).mean(1) / sizes


def _runs(mask: np.ndarray) -> list[np.ndarray]:
    """Indices of each run of True in a mask (n,)."""
    places = np.flatnonzero(mask)
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []
