"""Pictures of high dynamic range (PQ, HLG) or a wide gamut become those of BT.709 that the networks know.

The light of ITU-R BT.2100 is compressed to SDR by the curve of ITU-R BT.2390, each channel by a table. Dolby Vision's
own metadata is not used: its profile 8 is HLG or PQ without it.
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
_ONE = np.iinfo(np.uint16).max
_BT2020_LUMINANCE = 0.2627, 0.6780, 0.0593


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
        band = image[start : start + rows]
        if transfer == HLG:
            band = _hlg_displayed(band)
        cv2.LUT(cv2.transform(cv2.LUT(band, light), matrix), encoded, result[start : start + rows])
    return result


@cache
def _light(transfer: int) -> np.ndarray:
    """Displayed light, uint16 of SDR's white, by a channel's value, uint16; for HLG, by `_hlg_displayed`."""
    value = _range()
    if transfer == PQ:
        light = _compressed(_pq_light(value)) / _WHITE
    elif transfer == HLG:
        light = _compressed(_PEAK * value**2) / _WHITE
    else:
        light = value**_SDR_GAMMA
    return _table(light, np.uint16)


@cache
def _encoded() -> np.ndarray:
    """SDR's value, uint8, by the light, uint16 of SDR's white."""
    return _table(_range() ** (1 / _SDR_GAMMA), np.uint8)


def _range() -> np.ndarray:
    return np.linspace(0, 1, _ONE + 1)


def _table(values: np.ndarray, integer: type[np.unsignedinteger]) -> np.ndarray:
    """Values, 0 to 1, as the whole range of the integers."""
    return np.rint(np.clip(values, 0, 1) * np.iinfo(integer).max).astype(integer)


def _hlg_displayed(band: np.ndarray) -> np.ndarray:
    """The square root of the displayed light, uint16 of _PEAK (linear light would be too coarse in the dark).

    The display's system gamma belongs to the luminance (BT.2100, table 5), so that colours keep their saturation.
    """
    scene_root, gain_root = _hlg_tables()
    root = cv2.LUT(band, scene_root)
    luminance = cv2.transform(cv2.multiply(root, root, scale=1 / _ONE), np.tile(_BT2020_LUMINANCE, (3, 1)))
    gain = cv2.LUT(cv2.extractChannel(luminance, 0), gain_root)
    return cv2.multiply(root, cv2.cvtColor(gain, cv2.COLOR_GRAY2RGB), scale=1 / _ONE)


@cache
def _hlg_tables() -> tuple[np.ndarray, np.ndarray]:
    """The square root of the scene's light by HLG's value, and that of the display's gain by the scene's luminance."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    value = _range()
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return _table(scene**0.5, np.uint16), _table(value ** ((_HLG_GAMMA - 1) / 2), np.uint16)


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
