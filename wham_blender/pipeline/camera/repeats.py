"""Finds what a clip shows again: a film that was looped before it was saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Judged on eight real clips: a stretch and its repetition, encoded with x264 at constant rate factors of 20 and 30,
# differed by at most 0.36 of the movement within _STEP frames; other stretches differed by at least 0.58 of it.
_MOST_DIFFERENCE = 0.4
_STEP = 8  # network frames
_LEAST_MOVEMENT = 0.4  # mean grey levels within _STEP frames: in a picture that stands still, everything is alike
_SHORTEST = 15  # network frames of a repetition
_PART = 1024  # pictures that are compared at once: 8 MB
_CANDIDATES = 3  # earlier starts, those whose first pictures are most alike


@dataclass(frozen=True)
class Repeat:
    """Network frames ``first`` to ``end`` - 1 show what those from ``original`` on have shown."""

    first: int
    end: int
    original: int


def find_repeats(thumbnails: np.ndarray, starts: np.ndarray, possible_starts: np.ndarray) -> list[Repeat]:
    """The repetitions in a clip, in order.

    thumbnails (L, S, S): grey pictures of the network frames; ``starts``: frames, rising, with which shots or parts of
    them begin; ``possible_starts``: further ones with which a repetition may begin.
    """
    ends = np.union1d(np.union1d(starts, possible_starts), [len(thumbnails)])
    originals = np.union1d(starts, [0])
    repeats: list[Repeat] = []
    for first in ends[(ends > 0) & (ends < len(thumbnails))]:
        if repeats and first < repeats[-1].end:
            continue
        earlier = originals[originals < first]
        likely = earlier[_differences(thumbnails[earlier], thumbnails[first]).argsort()[:_CANDIDATES]]
        for original in likely:
            end = _end(thumbnails, int(first), int(original), ends[ends > first])
            if end - first >= _SHORTEST:
                repeats.append(Repeat(int(first), end, int(original)))
                break
    return repeats


def _end(thumbnails: np.ndarray, first: int, original: int, ends: np.ndarray) -> int:
    """The last of ``ends`` up to which frames from ``first`` on repeat those from ``original`` on; else ``first``."""
    begin, movements = first, np.zeros(0)
    for end in ends:
        earlier = slice(original + begin - first, original + end - first)
        since = max(earlier.start, original + _STEP)
        now, before = thumbnails[since : earlier.stop], thumbnails[since - _STEP : max(earlier.stop - _STEP, 0)]
        movements = np.append(movements, _differences(now, before))
        movement = float(np.median(movements)) if movements.size else 0.0
        if end - first >= _SHORTEST and movement < _LEAST_MOVEMENT:
            break
        difference = _differences(thumbnails[begin:end], thumbnails[earlier]).mean()
        if difference > _MOST_DIFFERENCE * max(movement, _LEAST_MOVEMENT):
            break
        begin = int(end)
    return begin


def _differences(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean absolute difference (n,) of grey pictures (n, S, S) from others, (n, S, S) or (S, S)."""
    others = np.broadcast_to(others, pictures.shape)
    parts = (slice(at, at + _PART) for at in range(0, max(len(pictures), 1), _PART))
    return np.concatenate([np.abs(pictures[part].astype(np.int16) - others[part]).mean((1, 2)) for part in parts])
