"""How far WHAM's output can be trusted in the placement: a calibration for each set of WHAM weights.

A calibration is measured with one set of weights and says nothing of another. ``bundled_weights/calibrations.toml``
holds those that exist, by the hash of the weights. Weights without one get UNCALIBRATED, which leaves contacts as the
network predicts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ... import weights


@dataclass(frozen=True)
class Calibration:
    """What was measured with one set of WHAM weights."""

    # Logistic regression of planted foot points: weights of the logit of WHAM's contact, of the speed (metres a
    # second), of the logarithm of the height over the lowest foot point (metres), and bias. None: WHAM's own
    # probabilities are used.
    contact_weights: tuple[float, float, float, float] | None
    velocity: float  # standard deviation of WHAM's root velocity, metres a frame
    # WHAM sees earlier frames only and at first takes everybody to stand: the share of the trust in its velocity that
    # the first frame gets, and the frames over which the rest of it comes.
    first_trust: float
    trust_frames: float
    source: str  # what it was measured on


UNCALIBRATED = Calibration(
    contact_weights=None,
    velocity=0.01,
    first_trust=0.2,
    trust_frames=5.0,
    source="not measured: contacts are the network's own, its velocity is trusted as much as the open WHAM's",
)


def calibration_for(wham: weights.WeightFile, *folders: Path) -> Calibration | None:
    """The calibration of a file of WHAM weights out of the first folder that has one; None where none has.

    Raises WeightsError where a folder's list is damaged.
    """
    for folder in folders:
        for entry in weights.calibrations(folder):
            if entry["wham"] == wham.sha256:
                numbers = {name: entry[name] for name in ("velocity", "first_trust", "trust_frames", "source")}
                return Calibration(contact_weights=tuple(entry["contact_weights"]), **numbers)
    return None
