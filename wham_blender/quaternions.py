"""Rotations as arrays of quaternions (..., 4) in the order w, x, y, z, as in Blender. NumPy only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_TINY = 1e-12
_PART = 1 << 14  # rotations that are converted at once: on the way each takes ten times the memory of its result
_LEAST_SINE = 1e-6  # of half an angle: the axis of a smaller rotation is not known


def multiply(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The rotation by ``second``, followed by the rotation by ``first``."""
    w, x, y, z = _components(first)
    s, a, b, c = _components(second)
    return np.stack(
        [
            w * s - (x * a + y * b + z * c),
            w * a + s * x + (y * c - z * b),
            w * b + s * y + (z * a - x * c),
            w * c + s * z + (x * b - y * a),
        ],
        -1,
    )


def inverse(rotations: np.ndarray) -> np.ndarray:
    """The inverse rotations of unit quaternions."""
    return rotations * [1.0, -1.0, -1.0, -1.0]


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Vectors or quaternions (..., n) at length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)


def rotate(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) rotated by unit quaternions."""
    w, x, y, z = _components(rotations)
    a, b, c = _components(np.asarray(vectors))
    p, q, r = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return np.stack(
        [a + w * p + (y * r - z * q), b + w * q + (z * p - x * r), c + w * r + (x * q - y * p)],
        -1,
    )


def _components(values: np.ndarray) -> list[np.ndarray]:
    """The n arrays (...) of an array (..., n): products of these take half the time of `numpy.cross`."""
    return [values[..., number] for number in range(values.shape[-1])]


def about(axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rotations by angles (...) in radians about axes (..., 3) of length one."""
    half = np.asarray(angles)[..., None] / 2
    return np.concatenate([np.cos(half), np.sin(half) * axes], -1)


def of_axis_angle(vectors: np.ndarray) -> np.ndarray:
    """Axis-angle (..., 3) in radians as quaternions."""
    half = np.linalg.norm(vectors, axis=-1, keepdims=True) / 2
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * vectors], -1)


def to_axis_angle(rotations: np.ndarray) -> np.ndarray:
    """Unit quaternions as axis-angle (..., 3) in radians, by at most pi."""
    rotations = np.where(rotations[..., :1] < 0, -rotations, rotations)
    sine = np.linalg.norm(rotations[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, rotations[..., :1])
    return rotations[..., 1:] * np.where(sine < 1e-9, 2.0, angle / np.maximum(sine, 1e-9))


def to_angle_and_axis(rotations: np.ndarray) -> np.ndarray:
    """Rotations (F, 4) as angles in radians and unit axes (F, 1 + 3), for components that are interpolated one by one.

    Of the equivalent values, each frame has those that are nearest to the frame before: an axis that does not flip, the
    same one where there is no rotation, and an angle that may exceed 360 degrees.
    """
    sines = np.linalg.norm(rotations[:, 1:], axis=1)
    values = np.empty_like(rotations)
    axis = np.array([0.0, 1.0, 0.0])
    angle = 0.0
    for row, (rotation, sine) in enumerate(zip(rotations, sines, strict=True)):
        if sine > _LEAST_SINE:
            found = rotation[1:] / sine
            axis = -found if row and found @ axis < 0 else found
        half = np.arctan2(rotation[1:] @ axis, rotation[0])
        angle = 2 * (half + np.pi * np.round((angle / 2 - half) / np.pi))
        values[row, 0], values[row, 1:] = angle, axis
    return values


def of_matrices(matrices: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) as unit quaternions.

    All four rows of Bar-Itzhack's (2000) symmetric matrix are multiples of the quaternion; the longest is the most
    accurate.
    """
    return in_parts(_of_matrices, matrices, 2)


def in_parts(convert: Callable[[np.ndarray], np.ndarray], values: np.ndarray, axes: int) -> np.ndarray:
    """``convert`` of values (..., *shape), where ``axes`` is the length of shape, a part of many of them at a time."""
    flat = values.reshape(-1, *values.shape[values.ndim - axes :])
    if len(flat) <= _PART:
        return convert(values)
    first = convert(flat[:_PART])
    converted = np.empty((len(flat), *first.shape[1:]), first.dtype)
    converted[:_PART] = first
    for at in range(_PART, len(flat), _PART):
        converted[at : at + _PART] = convert(flat[at : at + _PART])
    return converted.reshape(*values.shape[: values.ndim - axes], *converted.shape[1:])


def _of_matrices(matrices: np.ndarray) -> np.ndarray:
    m = np.asarray(matrices, np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    rows = np.stack(
        [
            np.stack([1 + xx + yy + zz, wx, wy, wz], -1),
            np.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
            np.stack([wy, xy, 1 - xx + yy - zz, yz], -1),
            np.stack([wz, xz, yz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    longest = np.argmax(np.einsum("...ii->...i", rows), -1)[..., None, None]
    return normalized(np.take_along_axis(rows, longest, -2)[..., 0, :])


def to_matrices(rotations: np.ndarray) -> np.ndarray:
    """Unit quaternions as rotation matrices (..., 3, 3)."""
    return rotate(rotations[..., None, :], np.eye(3)).swapaxes(-1, -2)


def between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The shortest rotations from directions (..., 3) to others; for opposite ones about any perpendicular axis."""
    start, end = normalized(start), normalized(end)
    cosine = np.sum(start * end, -1, keepdims=True)
    shortest = np.concatenate([1 + cosine, np.cross(start, end)], -1)
    other = np.where(np.abs(start[..., :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    opposite = np.concatenate([np.zeros_like(cosine), normalized(np.cross(start, other))], -1)
    return np.where(cosine > -1 + 1e-9, normalized(shortest), opposite)


def blend(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Slerp (Shoemake 1985) along the shorter arc: weight (...) 0 gives start, 1 gives end."""
    weight = np.asarray(weight)[..., None]
    cosine = np.sum(start * end, -1, keepdims=True)
    end = np.where(cosine < 0, -end, end)
    angle = np.arccos(np.clip(np.abs(cosine), 0.0, 1.0))
    sine = np.sin(angle)
    near = sine < 1e-6
    safe = np.where(near, 1.0, sine)
    first = np.where(near, 1 - weight, np.sin((1 - weight) * angle) / safe)
    second = np.where(near, weight, np.sin(weight * angle) / safe)
    return normalized(first * start + second * end)


def heading(rotations: np.ndarray) -> np.ndarray:
    """The part of each rotation about the z axis, which is up (swing-twist decomposition), as quaternions."""
    return normalized(rotations * [1.0, 0.0, 0.0, 1.0] + [_TINY, 0.0, 0.0, 0.0])


def without_jumps(rotations: np.ndarray) -> np.ndarray:
    """The same rotations (F, ..., 4) with signs for which each frame's quaternion is near the one before.

    The array itself, if they have such signs already.
    """
    jumps = np.einsum("...i,...i->...", rotations[1:], rotations[:-1]) < 0
    if not jumps.any():
        return rotations
    signs = np.cumprod(np.where(jumps, -1.0, 1.0), axis=0)
    return np.concatenate([rotations[:1], rotations[1:] * signs[..., None]])


def of_euler(angles: np.ndarray, order: str) -> np.ndarray:
    """Quaternions of Euler angles (F, 3), radians about X, Y, Z; order: Blender's, the first axis rotates first."""
    rotations = about(np.array([1.0, 0.0, 0.0]), np.zeros(len(angles)))
    for axis in order:
        number = "XYZ".index(axis)
        rotations = multiply(about(np.eye(3)[number], angles[:, number]), rotations)
    return rotations


def to_euler(rotations: np.ndarray, order: str) -> np.ndarray:
    """Rotations (F, 4) as Euler angles (F, 3) in radians, x y z, for a Blender order: "XYZ" rotates about x first.

    Of the equivalent angles, each frame has those that are nearest to the frame before.
    """
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    w = rotations[:, 0]
    x, y, z = sign * rotations[:, [1 + i, 1 + j, 1 + k]].T  # a left-handed order reverses the rotations
    middle = np.arcsin(np.clip(2 * (w * y - x * z), -1, 1))
    first = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    last = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    both = np.stack([np.stack([first, middle, last], 1), np.stack([first + np.pi, np.pi - middle, last + np.pi], 1)])
    angles = np.empty((len(rotations), 3))
    before = np.zeros(3)
    for row in range(len(rotations)):
        near = both[:, row] - 2 * np.pi * np.round((both[:, row] - before) / (2 * np.pi))
        before = near[np.argmin(np.abs(near - before).sum(1))]
        angles[row] = before
    result = np.empty_like(angles)
    result[:, [i, j, k]] = sign * angles
    return result
