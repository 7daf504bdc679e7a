"""Tracks people by their landmarks; a detector looks for new people at intervals.

Who is new is followed back in time, too, through the frames that a buffer keeps: to where they came into view, or to
where they were lost. Therefore the rows of a frame are finished when it leaves the buffer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np

from ..clip import video_reader
from . import appearance
from .frame_buffer import FrameBuffer
from .hands import HandTracker
from .landmarks import Crop, Landmarker, Observation, crop_around_box, crop_around_keypoints
from .movenet import NEW_TRACK_SCORE
from .person_track import (
    NEW_QUALITY,
    SURE_QUALITY,
    Look,
    PersonTrack,
    is_person,
    pose_distance,
    rotation_matrix,
)
from .tracking import DetectionRow, Detector

LOOKBACK = round(2.5 * video_reader.NETWORK_FPS)  # frames through which a new person is followed back
_INTERVAL = 12  # frames between two runs of the detector: who comes into view is followed back to it
_SEARCH_INTERVAL = 3  # the interval while nobody is seen, and after somebody was lost
_SEARCH_DURATION = 30  # frames; set by hand
_WEAK_SCORE = 0.05  # who kneels, lies or is near often has no more, as have lamps and posters: the landmark net decides
_MOST_WEAK = 2  # weak ones at which it looks in a run of the detector
# Overlap of boxes of one thing that stands still, at which the landmark net has looked in vain: it looks again after
# pauses that grow up to half of the frames through which a person is followed back. It took an eighth of all looks.
_SAME_THING_IOU = 0.7
_SAME_PERSON_IOU = 0.5  # of boxes, above which a detection is of somebody who is tracked
_SAME_POSE = (
    0.1  # body sizes between two observations below which they are of one body; people who dance are 0.15 apart
)
_SAME_NEW_POSE = 0.2  # the same for a detection: what it finds near somebody is mostly a part of that body
_LOOK_FOR_LOST = (1, 2, 4, 8, 12, 16, 22, 30, 40, 50, 60)  # frames after the last one in which to look for somebody
_DETECT_LOST = (2, 8, 16, 30)  # of these, those in which the detector runs on a rotated picture of the place, too
_ROTATIONS = tuple(np.radians((0, 180, 90, 270)))  # from the predicted rotation
_ROTATED_SIDE = 1.5  # side of that picture over that of the landmark net's crop
_WHOLE_PIXELS = 640  # most for the side of the rotated whole picture
_ROTATED_PIXELS = 320  # side of that picture; the detector enlarges it
_BACK_THROUGH = 8  # frames in which somebody may be unseen while followed back
_APART_IOA = 0.2  # overlap of boxes over the smaller, below which clothes are seen for sure
_COLOUR_WEIGHT = 0.02  # sizes of the body that a CIELAB unit of difference in the clothes weighs, between two people
_COLOUR_DECAY = 0.9  # per frame, of what somebody looks like
_FULL = np.ones(2)  # scale of the clip's own frames
# Somebody of a lower quality than NEW_QUALITY, who kneels, is half covered or fills the picture: all of several looks
# must have this quality and score, and show the same body (mean distance of the keypoints, in body sizes). In four
# films of training motion, also half covered and cut to a part of the body, people have 0.39, 1 and 0.12 or better, and
# places without people no score in one of the looks, or a distance of 0.19 or more.
_AGREED_QUALITY, _AGREED_SCORE, _SAME_BODY = 0.35, 0.9, 0.15
_MOVED_CROP, _LARGER_CROP = np.array([0.06, -0.06]), 1.12  # of the second crop over the first: its place and side
_NOBODY = 0.3  # quality of the first look at a detection, below which there is no second


@dataclass
class _Refused:
    """What the detector takes for a person and the landmark net does not."""

    box: np.ndarray  # (4,) x1, y1, x2, y2 in pixels
    looks: int = 0
    next_look: int = 0  # the frame from which the landmark net looks again


class LandmarkTracker:
    """A PeopleSource that follows everybody with the landmark net and looks for new people with a detector."""

    def __init__(
        self, detect: Detector, landmarker: Landmarker, lookback: int = LOOKBACK, hands: HandTracker | None = None
    ) -> None:
        """``lookback``: frames after which the rows of a frame are finished; ``hands``: None: none are looked for."""
        self.lookback = lookback
        self._detect, self._landmarker, self._hands = detect, landmarker, hands
        self._buffer = FrameBuffer(lookback + 1)
        self._tracks: list[PersonTrack] = []  # also who is not seen now
        self._colours: dict[int, np.ndarray] = {}  # by track: what they look like, as `appearance.describe`
        self._next_number = 1
        self._frame = -1
        self._shot_begin, self._last_lost = 0, -_SEARCH_DURATION
        self._refused: list[_Refused] = []
        self._rows: deque[dict[int, tuple[DetectionRow, Observation]]] = deque()  # of the frames from _first_row on
        self._first_row = 0
        self._finished: list[DetectionRow] = []

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        """See `PeopleSource`."""
        self._frame += 1
        self._buffer.append(image)
        self._rows.append({})
        seen = self._follow(image)
        lost = [track for track in self._tracks if track.missed(self._frame) == 0 and track.number not in seen]
        if lost:
            self._last_lost = self._frame
        for track in self._tracks:
            if track.number in seen:
                missed = track.missed(self._frame)
                self._accept(track, image, seen[track.number], seen)
                if missed:
                    self._follow_back(track)
        self._tracks = [track for track in self._tracks if track.missed(self._frame) < _LOOK_FOR_LOST[-1]]
        if self._is_time_to_detect(bool(lost), bool(seen)):
            self._find_new(image, seen)
        while len(self._rows) > self.lookback:
            self._finish_frame()
        return np.array([each.box for each in seen.values()]).reshape(-1, 4)

    def start_new_shot(self) -> None:
        """See `PeopleSource`."""
        self._buffer.start_new_shot()
        self._tracks, self._colours, self._refused = [], {}, []
        self._shot_begin = self._frame + 1

    def finished_rows(self) -> list[DetectionRow]:
        """See `PeopleSource`."""
        rows, self._finished = self._finished, []
        return rows

    def finish(self) -> None:
        """See `PeopleSource`."""
        while self._rows:
            self._finish_frame()

    def _finish_frame(self) -> None:
        self._finished += [row for row, _ in self._rows.popleft().values()]
        self._first_row += 1

    def _is_time_to_detect(self, lost: bool, seen: bool) -> bool:
        often = not seen or self._frame - self._last_lost < _SEARCH_DURATION
        return lost or (self._frame - self._shot_begin) % (_SEARCH_INTERVAL if often else _INTERVAL) == 0

    def _look(self, frame: int, image: np.ndarray, scale: np.ndarray = _FULL, *, other: bool = False) -> Look:
        """The landmark net in a frame; ``scale``: of the image over the clip's frames.

        ``other``: on the mirror image in frames in which it sees the picture as it is, and the other way round.
        """
        return look_in(self._landmarker, image, scale, mirrored=(frame % 2 == 1) != other)

    def _follow(self, image: np.ndarray) -> dict[int, Observation]:
        """By track: who is seen in the current frame, each body by one track only."""
        look = self._look(self._frame, image)
        seen: dict[int, Observation] = {}
        for track in sorted(self._tracks, key=lambda each: each.missed(self._frame)):
            missed = track.missed(self._frame)
            if missed and missed not in _LOOK_FOR_LOST:
                continue
            found = track.look_at(look, self._frame)
            if found is None and missed in _DETECT_LOST:
                found = self._detect_rotated(track, image)
            if found is None:
                continue
            if missed and any(pose_distance(found, other) < _SAME_POSE for other in seen.values()):
                continue
            seen[track.number] = found
        return self._without_shared(image, seen)

    def _without_shared(self, image: np.ndarray, seen: dict[int, Observation]) -> dict[int, Observation]:
        """Where two tracks see one body, the track to which it fits less does not see its person."""
        tracks = {track.number: track for track in self._tracks}
        shared = {
            number
            for pair in combinations(seen, 2)
            if pose_distance(seen[pair[0]], seen[pair[1]]) < _SAME_POSE
            for number in pair
        }
        costs = {
            number: tracks[number].distance(self._frame, seen[number]) + self._colour_cost(number, image, seen[number])
            for number in shared
        }
        for number in sorted(costs, key=lambda each: -costs[each]):
            found = seen[number]
            if any(pose_distance(found, each) < _SAME_POSE for other, each in seen.items() if other != number):
                del seen[number]
        return seen

    def _colour_cost(self, number: int, image: np.ndarray, found: Observation) -> float:
        known = self._colours.get(number)
        if known is None:
            return 0.0
        apart = appearance.difference(known, appearance.describe(image, found.keypoints))
        return _COLOUR_WEIGHT * float(np.nan_to_num(apart))

    def _accept(self, track: PersonTrack, image: np.ndarray, found: Observation, seen: dict[int, Observation]) -> None:
        """Add a row of a track in the current frame."""
        track.accept(self._frame, found)
        colours = self._add_row(track.number, self._frame, found, image)
        others = [each.box for number, each in seen.items() if number != track.number]
        if all(_overlap(found.box, other) < _APART_IOA for other in others):
            known = self._colours.get(track.number, colours)
            mixed = _COLOUR_DECAY * known + (1 - _COLOUR_DECAY) * colours
            self._colours[track.number] = np.where(np.isnan(mixed), np.where(np.isnan(known), colours, known), mixed)

    def _add_row(
        self, number: int, frame: int, found: Observation, image: np.ndarray, scale: np.ndarray = _FULL
    ) -> np.ndarray:
        """Add a row, and return what the person looks like."""
        row = detection_row(number, frame, found, (image, scale), self._hands)
        self._rows[frame - self._first_row][number] = row, found
        return row.appearance

    def _find_new(self, image: np.ndarray, seen: dict[int, Observation]) -> None:
        """Begin tracks of people whom the detector finds and nobody follows; they are added to ``seen``."""
        boxes, scores, keypoints = self._detect_all(image, bool(seen))
        look, mirrored, weak = self._look(self._frame, image), self._look(self._frame, image, other=True), 0
        for index in np.argsort(-scores):
            tracked = np.array([each.box for each in seen.values()]).reshape(-1, 4)
            if scores[index] < _WEAK_SCORE or (iou(boxes[index], tracked) > _SAME_PERSON_IOU).any():
                continue
            refused = self._refused_at(boxes[index])
            if self._frame < refused.next_look:
                continue
            weak += scores[index] < NEW_TRACK_SCORE
            if weak > _MOST_WEAK:
                break
            crop = crop_around_keypoints(keypoints[index]) if len(keypoints[index]) else crop_around_box(boxes[index])
            found = confirmed(look, mirrored, crop)
            if found is None or any(_is_part_of(found, other) for other in seen.values()):
                self._refuse(refused)
                continue
            track = PersonTrack(self._next_number, self._frame, found)
            self._next_number += 1
            self._tracks.append(track)
            seen[track.number] = found
            self._colours[track.number] = self._add_row(track.number, self._frame, found, image)
            self._follow_back(track)

    def _refused_at(self, box: np.ndarray) -> _Refused:
        """The thing in a box (4,) at which the landmark net has looked in vain, or a new entry for it."""
        for each in self._refused:
            if iou(box, each.box) > _SAME_THING_IOU:
                return each
        return _Refused(box)

    def _refuse(self, thing: _Refused) -> None:
        """Remember that the landmark net has looked in vain."""
        thing.looks += 1
        thing.next_look = self._frame + min(_SEARCH_INTERVAL * 2**thing.looks, self.lookback // 2)
        recent = (each for each in self._refused if each is not thing and each.next_look > self._frame - self.lookback)
        self._refused = [thing, *recent]

    def _detect_all(self, image: np.ndarray, seen: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The detector in the whole picture; while nobody is seen, alternately in the rotated one."""
        search = (self._frame - self._shot_begin) // _SEARCH_INTERVAL
        if seen or search % 2 == 0:
            return self._detect(image)
        size = np.array(image.shape[1::-1])
        rotation = rotation_matrix(_ROTATIONS[1 + search // 2 % 3])
        return self._detect_in(image, Crop(size / 2, float(size.max()), rotation), min(int(size.max()), _WHOLE_PIXELS))

    def _follow_back(self, track: PersonTrack) -> None:
        """Follow somebody who is seen anew back to where they came into view, or to where a track has lost them."""
        back = PersonTrack(track.number, self._frame, track.observation, step=-1)
        for frame in range(self._frame - 1, self._buffer.first - 1, -1):
            missed = back.missed(frame)
            if frame < self._first_row or missed > _BACK_THROUGH:
                return
            rows = self._rows[frame - self._first_row]
            if track.number in rows:
                return
            if missed and missed not in _LOOK_FOR_LOST:
                continue
            image, scale = self._buffer[frame]
            found = back.look_at(self._look(frame, image, scale), frame)
            if found is None:
                continue
            same = [number for number, (_, each) in rows.items() if pose_distance(found, each) < _SAME_POSE]
            if same:
                if self._continue_lost(track, same[0], frame):
                    return
                continue
            back.accept(frame, found)
            self._add_row(track.number, frame, found, image, scale)

    def _continue_lost(self, track: PersonTrack, number: int, frame: int) -> bool:
        """A track reaches, in a frame, an older one: whether they are one, as the older has lost the person there."""
        if any(number in rows for rows in list(self._rows)[frame + 1 - self._first_row :]):
            return False
        for rows in self._rows:
            if track.number in rows:
                row, found = rows.pop(track.number)
                rows[number] = replace(row, track=number), found
        self._tracks = [each for each in self._tracks if each.number != number]
        self._colours[number] = self._colours.pop(track.number)
        track.number = number
        return True

    def _detect_rotated(self, track: PersonTrack, image: np.ndarray) -> Observation | None:
        """Somebody who was lost, by the detector on a rotated picture of the place: it sees nobody upside down."""
        around = track.predicted_crop(self._frame)
        angle = _ROTATIONS[_DETECT_LOST.index(track.missed(self._frame)) % len(_ROTATIONS)]
        place = Crop(around.center, _ROTATED_SIDE * around.side, around.rotation @ rotation_matrix(angle))
        _, scores, keypoints = self._detect_in(image, place, _ROTATED_PIXELS)
        if not keypoints.shape[1] or scores.max(initial=0) < _WEAK_SCORE:
            return None
        look, mirrored = self._look(self._frame, image), self._look(self._frame, image, other=True)
        found = confirmed(look, mirrored, crop_around_keypoints(keypoints[np.argmax(scores)]))
        return found if found and track.distance(self._frame, found) < 1 else None

    def _detect_in(self, image: np.ndarray, crop: Crop, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As the detector, of a crop resized to ``side`` pixels, in the picture's pixels; boxes around keypoints."""
        linear = crop.rotation * (crop.side / side)
        origin = crop.center - linear @ np.full(2, (side - 1) / 2)
        picture = cv2.warpAffine(
            image, np.column_stack([linear, origin]), (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        boxes, scores, keypoints = self._detect(picture)
        points = keypoints[..., :2] @ linear.T + origin
        if not keypoints.shape[1]:  # a detector without keypoints: the corners of its boxes
            points = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ linear.T + origin
        boxes = np.concatenate([points.min(1), points.max(1)], 1)
        return boxes, scores, np.concatenate([points, keypoints[..., 2:]], -1) if keypoints.shape[1] else keypoints


def look_in(landmarker: Landmarker, image: np.ndarray, scale: np.ndarray, *, mirrored: bool) -> Look:
    """The landmark net in an image, (H, W, 3) uint8 RGB, of ``scale`` (2,) over the clip's frames, or its mirror image.

    Crops and landmarks are in pixels of the clip's frames.
    """

    def look(crop: Crop) -> Observation:
        reduced = Crop(crop.center * scale, crop.side * float(scale.mean()), crop.rotation)
        found = landmarker(image, reduced, mirrored)
        landmarks = found.landmarks / (*scale, 1)
        return Observation(landmarks, found.landmarks_3d, found.score, found.quality)

    return look


def detection_row(
    number: int, frame: int, found: Observation, picture: tuple[np.ndarray, np.ndarray], hands: HandTracker | None
) -> DetectionRow:
    """The row of a track in a network frame; ``picture``: image and scale as in `look_in`; hands: None: not wanted."""
    image, scale = picture
    colours = appearance.describe(image, found.keypoints * (*scale, 1))
    row = DetectionRow(frame, number, found.box, found.keypoints, found.landmarks, found.landmarks_3d, colours)
    if hands is None:
        return row
    seen, scores = hands.look(image, scale, frame, number, found.landmarks)
    return replace(row, hands=seen, hand_scores=scores)


def confirmed(look: Look, mirrored: Look, crop: Crop) -> Observation | None:
    """The person in a crop that the detector suggests, either way up; None if the landmark net sees nobody.

    ``mirrored``: the net on the mirror image of what ``look`` takes, or the other way round.
    """
    first = look(crop)
    if first.quality < _NOBODY:
        return None
    around = crop_around_keypoints(first.keypoints)
    best = max(first, look(around), key=_quality)
    if best.quality < SURE_QUALITY:
        rotated = look(Crop(around.center, around.side, -around.rotation))
        if rotated.quality > best.quality:
            best = max(rotated, look(crop_around_keypoints(rotated.keypoints)), key=_quality)
    if is_person(best, NEW_QUALITY):
        return best
    return _agreed(look, mirrored, best) if best.quality > _AGREED_QUALITY else None


def _agreed(look: Look, mirrored: Look, best: Observation) -> Observation | None:
    """The best look at somebody doubtful, if others, of a larger crop and mirrored, show the same body; else None."""
    around = crop_around_keypoints(best.keypoints)
    moved = Crop(around.center + _MOVED_CROP * around.side, _LARGER_CROP * around.side, around.rotation)
    looks = [best, look(moved), mirrored(around)]
    if any(not is_person(each, _AGREED_QUALITY) or each.score < _AGREED_SCORE for each in looks):
        return None
    return max(looks, key=_quality) if max(pose_distance(best, each) for each in looks) < _SAME_BODY else None


def _is_part_of(new: Observation, seen: Observation) -> bool:
    """Whether what the detector suggests is somebody who is seen already, or a part of them."""
    doubtful = new.quality < NEW_QUALITY and _overlap(new.box, seen.box) > _SAME_PERSON_IOU
    return doubtful or pose_distance(new, seen) < _SAME_NEW_POSE


def _quality(observation: Observation) -> float:
    return observation.quality


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union (...) of a box (4,) and others (..., 4)."""
    sides = np.minimum(box[2:], others[..., 2:]) - np.maximum(box[:2], others[..., :2])
    shared = sides.clip(0).prod(-1)
    areas = (box[2:] - box[:2]).prod() + (others[..., 2:] - others[..., :2]).prod(-1)
    return shared / (areas - shared + 1e-7)


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Area that two boxes (4,) share, over that of the smaller one."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    smaller = min(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return float(np.prod(sides.clip(0))) / max(smaller, 1.0)
