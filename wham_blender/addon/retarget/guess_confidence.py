"""How sure a guessed map is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Evidence:
    """What speaks for a guessed map: scores, higher is better."""

    leg_shape: float
    arm_shape: float
    leg: float
    arm: float
    left: float  # its sign says which side is left
