"""Error metrics of a motion against the truth, as reported in WHAM's paper. NumPy, metres, F frames.

Joints are (F, J, 3) of any joint set unless a docstring says otherwise; results are per frame and in metres.
"""

from __future__ import annotations

import numpy as np

SEGMENT = 100  # frames of WA-MPJPE-100 and W-MPJPE-100
_PLANTED_STEP = 0.01  # metres a frame: below it the true foot is planted


def similarity(
    source: np.ndarray, target: np.ndarray, scaled: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best scale (...), rotation (..., 3, 3) and translation (..., 3) from source points (..., N, 3) to target's.

    ``target ~ scale * source @ rotation.T + translation`` in the least-squares sense (Umeyama, PAMI 1991).
    """
    source_mean, target_mean = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    centred = source - source_mean
    u, spread, vh = np.linalg.svd((target - target_mean).swapaxes(-1, -2) @ centred)
    sign = np.ones_like(spread)
    sign[..., 2] = np.sign(np.linalg.det(u @ vh))
    rotation = (u * sign[..., None, :]) @ vh
    square_sum = (centred**2).sum((-1, -2))
    scale = (spread * sign).sum(-1) / np.maximum(square_sum, 1e-12) if scaled else np.ones_like(square_sum)
    translation = target_mean - scale[..., None, None] * source_mean @ rotation.swapaxes(-1, -2)
    return scale, rotation, translation[..., 0, :]


def _transformed(points: np.ndarray, transform: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    scale, rotation, translation = transform
    return scale[..., None, None] * points @ rotation.swapaxes(-1, -2) + translation[..., None, :]


def _distance(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(predicted - true, axis=-1).mean(-1)


def mpjpe(predicted: np.ndarray, true: np.ndarray, centre: list[int]) -> np.ndarray:
    """(F,) mean distance of the joints after the mean of the joints ``centre`` is moved to the origin."""
    return _distance(
        predicted - predicted[:, centre].mean(1, keepdims=True), true - true[:, centre].mean(1, keepdims=True)
    )


def pa_mpjpe(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(F,) mean distance of the joints after each frame's best similarity transform."""
    return _distance(aligned(predicted, true), true)


def aligned(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The predicted points (F, J, 3) after each frame's best similarity transform to the true ones."""
    return _transformed(predicted, similarity(predicted, true))


def accel_error(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(F - 2,) mean distance of the joints' second differences, metres a frame squared."""
    return _distance(np.diff(predicted, n=2, axis=0), np.diff(true, n=2, axis=0))


def jitter(predicted: np.ndarray, fps: float) -> np.ndarray:
    """(F - 3,) mean jerk of the joints in 10 m/s^3, the unit of the papers."""
    # One expression as in the reference: repeated differences in float32 round differently.
    jerk = (predicted[3:] - 3 * predicted[2:-1] + 3 * predicted[1:-2] - predicted[:-3]) * fps**3
    return np.linalg.norm(jerk, axis=-1).mean(-1) / 10


def rte(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(F,) distance of root positions (F, 3) after rigid alignment, as a fraction of the true path's length."""
    aligned_root = _transformed(predicted, similarity(predicted, true, scaled=False))
    return np.linalg.norm(aligned_root - true, axis=-1) / np.linalg.norm(np.diff(true, axis=0), axis=-1).sum()


def wa_mpjpe(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(F,) mean distance of the joints in the world, each segment of 100 frames aligned by all its frames."""
    return _by_segment(predicted, true, SEGMENT)


def w_mpjpe(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(F,) mean distance of the joints in the world, each segment of 100 frames aligned by its first two frames."""
    return _by_segment(predicted, true, 2)


def foot_sliding(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Movement in metres of foot points (F, 4, 3) in every frame in which the true point moves less than 1 cm."""
    planted = np.linalg.norm(np.diff(true, axis=0), axis=-1) < _PLANTED_STEP
    return np.linalg.norm(np.diff(predicted, axis=0), axis=-1)[planted]


def _by_segment(predicted: np.ndarray, true: np.ndarray, aligned: int) -> np.ndarray:
    errors = []
    for start in range(0, len(true), SEGMENT):
        source, target = predicted[start : start + SEGMENT], true[start : start + SEGMENT]
        transform = similarity(source[:aligned].reshape(-1, 3), target[:aligned].reshape(-1, 3))
        errors.append(_distance(_transformed(source, transform), target))
    return np.concatenate(errors)
