"""Tracks corners of the background from frame to frame while the clip is decoded, and detects cuts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

LONG_SIDE = 640  # pixels of the pictures in which corners are followed
_CORNERS = 220
_LEAST = 16  # corners: with fewer nothing can be said
_RENEW = 0.55  # of a key frame's corners: with fewer in sight the next look becomes the key frame
_BOX_MARGIN = 0.12  # of a person's box, on each side: hair, shoes and shadows move too
_BACK = 0.6  # pixels by which a corner may miss itself when followed back
_UNTIL = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
_WINDOW = (17, 17)  # pixels
_LEVELS = 4
_DARK = 20.0  # of 255: mean brightness of a black frame
_ALIKE = 0.7  # correlation of two looks' thumbnails from which they rather show one scene


@dataclass
class BackgroundTracks:
    """Corners of the background over L looks: P points of K key frames, seen M times."""

    shot: np.ndarray  # (L,) int64 the uninterrupted take that a look belongs to, from 0
    key: np.ndarray  # (K,) int64 look of each key frame
    point_key: np.ndarray  # (P,) int64 key frame of each point
    point: np.ndarray  # (P, 2) float32 pixels in the key frame
    seen_look: np.ndarray  # (M,) int64
    seen_point: np.ndarray  # (M,) int64
    seen: np.ndarray  # (M, 2) float32 pixels


class BackgroundTracker:
    """Follows the background's corners while a clip is decoded; holds two small pictures at any time."""

    def __init__(self) -> None:
        self._key: _KeyFrame | None = None
        self._grey: np.ndarray = np.empty((0, 0), np.uint8)  # the look
        self._scale = 1.0  # of its pixels to the clip's
        self._found: np.ndarray | None = None  # which of the key frame's corners are in it
        self._before: np.ndarray | None = None  # the look before, grey
        self._before_clear: np.ndarray | None = None  # and its background, for new corners
        self._shot = 0
        self._shots: list[int] = []
        self._keys: list[int] = []
        self._points: list[np.ndarray] = []
        self._seen: list[tuple[int, np.ndarray, np.ndarray]] = []  # look, point numbers, pixels

    def track_frame(self, image: np.ndarray) -> bool:
        """Find the corners in the next look, (H, W, 3) uint8 RGB; True where it begins another scene: after a cut."""
        scale = LONG_SIDE / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        self._grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        self._scale = self._grey.shape[1] / image.shape[1]
        self._found = self._find()
        cut = self._found is None and self._is_cut()
        if cut:
            self._shot += 1
            self._key = None
        return cut

    def finish_frame(self, boxes: np.ndarray) -> None:
        """Keep what was found outside the people's boxes (n, 4) x1, y1, x2, y2 in that look."""
        number, clear = len(self._shots), _clear(self._grey.shape, boxes * self._scale)
        if self._key and self._found is not None:
            column, row = np.round(self._key.places[self._found]).astype(int).T
            self._found[self._found] = clear[row, column] > 0
            if self._found.sum() >= _LEAST:
                places = self._key.places[self._found] / self._scale
                self._seen.append((number, self._key.first + np.flatnonzero(self._found), places))
        if self._key is None or (self._found is not None and self._key.is_worn(self._found)):
            self._renew(self._grey, clear, number)
        self._before, self._before_clear = self._grey, clear
        self._shots.append(self._shot)

    def result(self) -> BackgroundTracks:
        """Everything seen so far."""
        looks = [np.full(len(points), look) for look, points, _ in self._seen]
        return BackgroundTracks(
            shot=np.array(self._shots, np.int64),
            key=np.array(self._keys, np.int64),
            point_key=np.repeat(np.arange(len(self._keys)), [len(points) for points in self._points]).astype(np.int64),
            point=np.concatenate([*self._points, np.empty((0, 2))]).astype(np.float32),
            seen_look=np.concatenate([*looks, np.empty(0)]).astype(np.int64),
            seen_point=np.concatenate([*(points for _, points, _ in self._seen), np.empty(0)]).astype(np.int64),
            seen=np.concatenate([*(places for _, _, places in self._seen), np.empty((0, 2))]).astype(np.float32),
        )

    def _find(self) -> np.ndarray | None:
        """Which of the key frame's corners, or of the look before's, are in this look; None where too few are."""
        if self._key is None:
            return None
        found = self._key.find(self._grey)
        last = len(self._shots) - 1
        if found.sum() < _LEAST and self._before is not None and self._keys[-1] != last:
            old = self._key
            self._renew(self._before, self._before_clear, last)
            if self._key is not old:
                found = self._key.find(self._grey)
                if found.sum() < _LEAST:  # the old one may come into sight again, after a dark moment
                    self._key = old
                    self._keys.pop()
                    self._points.pop()
        return found if found.sum() >= _LEAST else None

    def _renew(self, grey: np.ndarray, clear: np.ndarray | None, number: int) -> None:
        """Make a look the key frame, if it has corners enough."""
        points = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.005, 9, mask=clear)
        if points is None or len(points) < _LEAST:
            return
        points = cv2.cornerSubPix(grey, points, (5, 5), (-1, -1), _UNTIL)[:, 0]
        self._key = _KeyFrame(grey, points, sum(map(len, self._points)))
        self._keys.append(number)
        self._points.append(points / self._scale)

    def _is_cut(self) -> bool:
        """Whether the look, which cannot be followed, shows another scene, and is not just blurred or black."""
        if self._before is None or self._key is None or self._grey.mean() < _DARK:
            return False
        ahead = cv2.goodFeaturesToTrack(self._grey, _CORNERS, 0.005, 9)
        if ahead is None or len(ahead) < 2 * _LEAST:
            return False
        last = self._key.grey if self._before.mean() < _DARK else self._before
        first, second = (
            cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA).ravel() for each in (last, self._grey)
        )
        return bool(np.corrcoef(first, second)[0, 1] < _ALIKE)


class _KeyFrame:
    """A picture and its corners, and where they are now."""

    def __init__(self, grey: np.ndarray, points: np.ndarray, first: int) -> None:
        self.grey, self.points, self.first = grey, points, first
        self.places = points.copy()
        self._step = np.zeros(2, np.float32)

    def is_worn(self, found: np.ndarray) -> bool:
        """Whether too few of the corners (n,) were found for another look."""
        return bool(found.sum() < max(_LEAST, _RENEW * len(self.points)))

    def find(self, grey: np.ndarray) -> np.ndarray:
        """Follow the corners to another look; which of them (n,) are found there."""
        guess = self.places + self._step
        places, there = _track(self.grey, grey, self.points, guess)
        back, home = _track(grey, self.grey, places, self.points)
        found = there & home & (np.linalg.norm(back - self.points, axis=1) < _BACK)
        column, row = np.round(places).astype(int).T
        found &= (column >= 0) & (row >= 0) & (column < grey.shape[1]) & (row < grey.shape[0])
        if found.sum() < _LEAST:
            return found
        homography, fits = cv2.findHomography(self.points[found], places[found], cv2.USAC_MAGSAC, 3.0)
        if homography is not None and fits.sum() >= _LEAST / 2:
            # Corners behind a person are looked for where the rest says they went.
            expected = cv2.perspectiveTransform(self.points[:, None], homography)[:, 0]
            found &= np.linalg.norm(places - expected, axis=1) < 0.1 * LONG_SIDE
            places = np.where(found[:, None], places, expected).astype(np.float32)
        self._step = np.median(places[found] - self.places[found], axis=0) if found.any() else self._step
        self.places = places
        return found


def _track(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where points (n, 2) of one picture are in another, near a guess (n, 2), and whether they are (n,)."""
    places, there, _ = cv2.calcOpticalFlowPyrLK(
        first, second, points, guess.astype(np.float32), None, None, _WINDOW, _LEVELS, _UNTIL,
        cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    return places, there[:, 0] > 0


def _clear(shape: tuple[int, ...], boxes: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 of a picture: 255 outside the people's boxes."""
    clear = np.full(shape[:2], 255, np.uint8)
    margin = _BOX_MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) if len(boxes) else 0
    for x1, y1, x2, y2 in np.maximum(np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1), 0).astype(int):
        clear[y1 : y2 + 1, x1 : x2 + 1] = 0
    return clear
