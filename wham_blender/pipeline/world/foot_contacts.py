"""Probabilities that foot points are planted: a regression on WHAM's contacts and the feet's motion in the world."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from ...motion import PLANTED_ABOVE, true_intervals
from ...planted_feet import LEGS
from ..pose.wham_inference import FPS

_SMOOTHING = 1.0  # frames, standard deviation; set by hand
# Frames over which the speed is averaged, set by hand: the foot of a jumping person who rotates in the air is slow in
# single frames and must not count as planted there.
_SPEED_WINDOW = 5
_PROBABILITY_MARGIN = 0.05  # WHAM's contacts are clipped to this distance from 0 and 1; set by hand
_MIN_HEIGHT = 0.02  # metres, added to a height before its logarithm: smaller heights are noise; set by hand
_MIN_SPEED = 0.1  # metres a second, the same for a speed
_TRAVEL_SMOOTHING = 5.0  # frames, standard deviation: a runner starts or turns within a second; set by hand
_FALL_SMOOTHING = 1.5  # frames, standard deviation: noise of 3 mm must stay small beside gravity; set by hand
_GRAVITY = 9.81  # metres a second squared
_FREE_FALL = 1.2  # of gravity: a stronger acceleration is noise
# Speed of a hidden foot over the speed of the pelvis. A walking foot is planted for 60 % of the cycle, so in the other
# 40 % it moves 2.5 times as fast as the body.
_SWING_SPEED = 2.5
# Set by hand: an ankle is seen to step in a contact if it moves by this many metres across the line of sight, between
# the medians of two spans of frames, a gap apart. The ankle of a planted foot moves by 0.02 where the shank swings.
_SEEN_STEP, _SEEN_SPAN, _SEEN_GAP = 0.045, 6, 5
_ANKLE_HEIGHT = 0.08  # metres: an ankle's height over the sole of a planted foot, of the open body
_LEAST_SLOPE = 0.1  # of a line of sight to the floor, sine: on a flatter one the floor is too far away to be measured


def contact_probability(
    contacts: np.ndarray,
    feet: np.ndarray,
    pelvis: np.ndarray | None = None,
    hidden: np.ndarray | None = None,
    *,
    weights: np.ndarray,
) -> np.ndarray:
    """Probabilities (F, 4) that foot points are planted.

    The first four arguments are those of `contact_evidence`; weights (n,): of the logistic regression, see Calibration;
    of fewer than there are features, as of older calibrations, the others are 0.
    The position of an occluded foot is hallucinated: it counts as planted while the body rests, and as not planted
    while the body moves.
    """
    if len(contacts) < 2:
        return np.clip(contacts, 0, 1)
    return 1 / (1 + np.exp(-contact_evidence(contacts, feet, pelvis, hidden)[..., : len(weights)] @ weights))


def contact_evidence(
    contacts: np.ndarray, feet: np.ndarray, pelvis: np.ndarray | None = None, hidden: np.ndarray | None = None
) -> np.ndarray:
    """Features (F, 4, 8) of each foot point for the regression.

    In this order: logit of WHAM's contact; speed, averaged over some frames; log height; one; log speed of the single
    frame; speed of travel of the feet; how far the pelvis is in free fall, 0..1.2; speed up or down. The averaged speed
    keeps the foot of somebody who jumps and turns from being planted in the air. The contact of a runner lasts 6 frames
    in which the foot rolls: it shows in the speed of the single frame, measured against the speed of travel. Free fall
    is the acceleration that only gravity gives; slow motion of unknown speed has less of it and then tells nothing.

    contacts (F, 4): WHAM's, 0..1; feet (F, 4, 3) and pelvis (F, 3): metres, in a world with z up, at least two frames;
    hidden (F, 4) bool: foot points that are not visible in the picture, None: all are visible. Speeds are metres a
    second, heights are metres over the frame's lowest foot point.
    """
    probability = np.clip(contacts, _PROBABILITY_MARGIN, 1 - _PROBABILITY_MARGIN)
    velocity = _velocity(feet, _SMOOTHING)
    single = np.linalg.norm(velocity, axis=-1)
    mean = uniform_filter1d(single**2, _SPEED_WINDOW, axis=0, mode="nearest")
    speed = np.sqrt(np.maximum(mean, 0))  # a running mean of zeros may end slightly below zero
    travel = np.linalg.norm(_velocity(feet.mean(1), _TRAVEL_SMOOTHING)[:, :2], axis=-1)
    fall = np.zeros(len(feet))
    if pelvis is not None:
        acceleration = np.gradient(_velocity(pelvis[:, 2], _FALL_SMOOTHING)) * FPS
        fall = np.clip(-acceleration / _GRAVITY, 0, _FREE_FALL)
        if hidden is not None:
            least = np.where(hidden, _SWING_SPEED * np.linalg.norm(_velocity(pelvis, _SMOOTHING), axis=-1)[:, None], 0)
            speed, single = np.maximum(speed, least), np.maximum(single, least)
    height = feet[..., 2] - feet[..., 2].min(1, keepdims=True)
    features = [
        np.log(probability / (1 - probability)), speed, np.log(height + _MIN_HEIGHT), np.ones_like(speed),
        np.log(single + _MIN_SPEED), travel[:, None], fall[:, None], np.abs(velocity[..., 2]),
    ]  # fmt: skip
    stacked = np.stack([np.broadcast_to(feature, speed.shape) for feature in features], -1)
    return gaussian_filter1d(stacked, _SMOOTHING, axis=0, mode="nearest")


def without_seen_steps(
    contacts: np.ndarray, ankles: np.ndarray, to_camera: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Contacts (F, 4), set to 0 in frames in which the ankle of a planted heel is seen to step.

    Somebody who sits shuffles the feet over the floor: the network sees a contact all the time, and the estimated leg
    follows less than the picture shows. Without this, the foot would be held where it was at first.

    contacts: probabilities; ankles (F, 2, 3): directions to the left and the right ankle in camera axes, nan where they
    are not seen; to_camera (F, 3, 3): from a world with z up, and the floor at 0; centre (F, 3): the camera's position
    there, metres.
    """
    result = contacts.copy()
    for leg, direction in zip(LEGS, ankles.swapaxes(0, 1), strict=True):
        ray = np.einsum("nji,nj->ni", to_camera, direction)
        slope = -ray[:, 2] / np.linalg.norm(ray, axis=1)
        seen = slope > _LEAST_SLOPE  # false for nan
        distance = (centre[:, 2] - _ANKLE_HEIGHT) / np.where(seen, -ray[:, 2], 1)
        place = np.where(seen[:, None], centre + ray * distance[:, None], np.nan)[:, :2]
        for start, stop in true_intervals(contacts[:, leg.points.start + 1] > PLANTED_ABOVE):
            rows = np.arange(start, stop)[seen[start:stop]]
            for first, last in _steps(place[rows], ray[rows, :2], slope[rows]):
                result[rows[first] : rows[last - 1] + 1, leg.points] = 0
    return result


def _steps(place: np.ndarray, ray: np.ndarray, slope: np.ndarray) -> list[tuple[int, int]]:
    """Half-open spans of rows in which a point of the floor (n, 2), metres, steps, as it is seen.

    ray (n, 2): the line of sight, level; slope (n,): the sine of its angle with the floor. What is along the line of
    sight is measured ``slope`` times as well as what is across it.
    """
    reach = _SEEN_SPAN + _SEEN_GAP // 2
    middles = np.arange(reach, len(place) - reach)
    if not len(middles):
        return []
    spans = np.arange(_SEEN_SPAN)[:, None] + middles
    after, before = (np.median(place[spans + begin], 0) for begin in (_SEEN_GAP // 2 + 1, -reach))
    along = ray[middles] / np.linalg.norm(ray[middles], axis=1, keepdims=True)
    moved = after - before
    deep = (moved * along).sum(1)
    across = np.linalg.norm(moved - deep[:, None] * along, axis=1)
    seen = np.hypot(across, slope[middles] * deep)
    found = []
    for first, last in true_intervals(seen > _SEEN_STEP):
        middle = middles[first + int(seen[first:last].argmax())]
        found.append((middle - _SEEN_GAP // 2, middle + _SEEN_GAP // 2 + 1))
    return found


def relative_to_support_foot(feet: np.ndarray) -> np.ndarray:
    """Foot points (F, 4, 3) moved so that the lowest one of each frame, the support foot, rests."""
    lowest = (feet[1:, :, 2] + feet[:-1, :, 2]).argmin(1)
    steps = np.diff(feet, axis=0)[np.arange(len(lowest)), lowest]
    return feet - np.insert(steps.cumsum(0), 0, 0, axis=0)[:, None]


def _velocity(points: np.ndarray, smoothing: float) -> np.ndarray:
    """Metres a second (F, ...) of smoothed points or coordinates (F, ...) in metres, at least two frames."""
    return np.gradient(gaussian_filter1d(points, smoothing, axis=0, mode="nearest"), axis=0) * FPS
