"""Calibrations: how accurate the contacts and the velocity of one set of WHAM weights are, for the placement.

A calibration is measured with one set of weights and does not apply to another. ``bundled_weights/calibrations.toml``
lists them by the hash of the weights. Weights without one get UNCALIBRATED, which leaves contacts as the network
predicts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ... import weights


@dataclass(frozen=True)
class Calibration:
    """Accuracy of one set of WHAM weights, as measured."""

    # Logistic regression of planted foot points: weights of the features of `foot_contacts.contact_evidence`, in their
    # order; features beyond them, which older calibrations do not know, have weight 0. None: WHAM's contacts are used
    # as they are.
    contact_weights: tuple[float, ...] | None
    velocity: float  # standard deviation of WHAM's root velocity, metres a frame
    # WHAM is causal, and its velocity is too small in the first frames of a track. Weight of the velocity in the first
    # frame, 0..1, and the time constant, in frames, with which the weight grows to 1.
    first_frame_weight: float
    weight_frames: float
    source: str  # the data that it was measured on


UNCALIBRATED = Calibration(
    contact_weights=None,
    velocity=0.01,
    first_frame_weight=0.2,
    weight_frames=5.0,
    source="not measured: contacts are the network's own, its velocity is trusted as much as the open WHAM's",
)


def calibration_for(wham: weights.WeightFile, *folders: Path) -> Calibration | None:
    """The calibration of a file of WHAM weights, from the first folder that lists one; None if none does.

    Raises WeightsError if a folder's list is damaged.
    """
    for folder in folders:
        for entry in weights.calibrations(folder):
            if entry["wham"] == wham.sha256:
                numbers = {name: entry[name] for name in ("velocity", "first_frame_weight", "weight_frames", "source")}
                return Calibration(contact_weights=tuple(entry["contact_weights"]), **numbers)
    return None
