"""Pictures of high dynamic range (PQ, HLG) or a wide gamut become those of BT.709 that the networks know.

Each channel is looked up in a table: the light of ITU-R BT.2100, compressed to SDR by the curve of ITU-R BT.2390. For
HLG, that is exact for greys. Dolby Vision's own metadata is not used: its profile 8 is HLG or PQ without it.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

# ITU-T H.273's numbers, as in FFmpeg's frames.
PQ, HLG = 16, 18
BT709, UNKNOWN, BT2020, DISPLAY_P3 = 1, 2, 9, 12
_CHROMATICITIES = {  # x, y of red, green and blue
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = 0.3127, 0.3290
_WHITE = 203.0  # cd/m² of SDR's white in HDR pictures (ITU-R BT.2408)
_PEAK = 1000.0  # cd/m², brighter highlights are clipped; HLG's nominal display, and that of most PQ pictures
_HLG_GAMMA = 1.2  # of a display of 1000 cd/m² (BT.2100, table 5)
_SDR_GAMMA = 2.4  # ITU-R BT.1886
_BAND = 1 << 18  # pixels converted at once, which stay in the processor's cache
_LARGEST = 65535


def is_needed(transfer: int, primaries: int) -> bool:
    """Whether a frame with these characteristics does not look right if its values are taken as BT.709's."""
    return transfer in (PQ, HLG) or primaries in (BT2020, DISPLAY_P3)


def is_bt2020(transfer: int, primaries: int) -> bool:
    """Whether a frame is of BT.2020's primaries, named or, in HDR, not named."""
    return primaries == BT2020 or (transfer in (PQ, HLG) and primaries == UNKNOWN)


def to_sdr(image: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """The picture (H, W, 3) uint16 RGB in full range, as SDR of BT.709, (H, W, 3) uint8."""
    light, encoded = _light(transfer), _encoded()
    matrix = _to_bt709(BT2020 if is_bt2020(transfer, primaries) else primaries)
    result = np.empty(image.shape, np.uint8)
    rows = max(1, _BAND // image.shape[1])
    for start in range(0, len(image), rows):
        band = slice(start, start + rows)
        cv2.LUT(cv2.transform(cv2.LUT(image[band], light), matrix), encoded, result[band])
    return result


@cache
def _light(transfer: int) -> np.ndarray:
    """Displayed light, uint16 of SDR's white, by a channel's value, uint16."""
    value = np.arange(_LARGEST + 1) / _LARGEST
    if transfer == PQ:
        light = _compressed(_pq_light(value)) / _WHITE
    elif transfer == HLG:
        light = _compressed(_PEAK * _hlg_scene(value) ** _HLG_GAMMA) / _WHITE
    else:
        light = value**_SDR_GAMMA
    return np.rint(np.clip(light, 0, 1) * _LARGEST).astype(np.uint16)


@cache
def _encoded() -> np.ndarray:
    """SDR's value, uint8, by the light, uint16 of SDR's white."""
    light = np.arange(_LARGEST + 1) / _LARGEST
    return np.rint(255 * light ** (1 / _SDR_GAMMA)).astype(np.uint8)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128  # of SMPTE ST 2084
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_light(value: np.ndarray) -> np.ndarray:
    """The light, cd/m², of PQ's values, 0 to 1 (BT.2100, table 4)."""
    power = value ** (1 / _M2)
    return 10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _pq_value(light: np.ndarray) -> np.ndarray:
    """PQ's value, 0 to 1, of light in cd/m²."""
    power = (light / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_scene(value: np.ndarray) -> np.ndarray:
    """The scene's light, 0 to 1, of HLG's values, 0 to 1 (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)


def _compressed(light: np.ndarray) -> np.ndarray:
    """Light up to _PEAK compressed to up to _WHITE, cd/m²: BT.2390's EETF, a Hermite spline above a knee."""
    peak = _pq_value(np.array(_PEAK))
    value = np.minimum(_pq_value(light) / peak, 1)
    most = _pq_value(np.array(_WHITE)) / peak
    knee = 1.5 * most - 0.5
    t = np.maximum(value - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return _pq_light(np.where(value < knee, value, spline) * peak)


@cache
def _to_bt709(primaries: int) -> np.ndarray:
    """Matrix (3, 3) from linear RGB of these primaries to linear RGB of BT.709's."""
    known = primaries if primaries in _CHROMATICITIES else BT709
    return np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(known)


def _to_xyz(primaries: int) -> np.ndarray:
    x, y = np.array([*_CHROMATICITIES[primaries], _D65]).T
    xyz = np.stack([x, y, 1 - x - y])
    white = xyz[:, 3] / y[3]
    return xyz[:, :3] * np.linalg.solve(xyz[:, :3], white)
