"""HDR becomes SDR by the published values: of light, of white, and of what lies above."""

from __future__ import annotations

import numpy as np
import pytest

from tests.clips import make
from wham_blender.pipeline.clip.tone_mapping import to_sdr


def greys(values: list[float], transfer: int) -> list[int]:
    """SDR's values, 0 to 255, of grey pixels in HDR, 0 to 1."""
    image = np.rint(65535 * np.array(values)).astype(np.uint16)[None, :, None].repeat(3, 2)
    result = to_sdr(image, transfer, make.BT2020)
    assert (np.ptp(result, axis=2) <= 1).all(), "greys stay grey"
    shown: list[int] = result[0, :, 1].tolist()
    return shown


def test_pq_below_the_knee_is_the_light_itself() -> None:
    # Grey card, 26 cd/m2, and 50 cd/m2 of 203 (ITU-R BT.2408, BT.2100).
    expected = [round(255 * (light / 203) ** (1 / 2.4)) for light in (26, 50)]
    assert greys([0.3797, 0.4404], make.PQ) == pytest.approx(expected, abs=1)


def test_hlg_and_pq_of_the_same_light_are_the_same() -> None:
    # White of 203 cd/m2, the grey card and the peak of 1000 cd/m2 (BT.2408, table 1).
    assert greys([0.75, 0.38, 1.0], make.HLG) == pytest.approx(greys([0.5807, 0.3797, 0.7518], make.PQ), abs=2)


@pytest.mark.parametrize(("transfer", "peak"), [(make.PQ, 0.7518), (make.HLG, 1.0)])
def test_highlights_are_compressed_and_not_clipped(transfer: int, peak: float) -> None:
    white = 0.5807 if transfer == make.PQ else 0.75
    shown = greys(list(np.linspace(0, peak, 30)), transfer)
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert shown[-1] == 255
    assert 220 < greys([white], transfer)[0] < 240
    steps = np.diff(greys(list(np.linspace(white, 0.98 * peak, 6)), transfer))
    assert (steps > 0).all()


@pytest.mark.parametrize("transfer", [make.PQ, make.HLG])
def test_colours_keep_their_hue(transfer: int) -> None:
    """Darker than the knee, so that each colour comes back exactly; in a picture of more than one band."""
    image = np.random.default_rng(0).integers(20, 150, (1100, 1001, 3)).astype(np.uint8)
    difference = to_sdr(make.hdr(image, transfer), transfer, make.BT2020).astype(int) - image
    assert np.abs(difference).mean() < 0.5
    assert np.abs(difference).max() <= 4
