"""How sure a guessed bone is: a logistic function of what speaks for it, fitted on generated skeletons. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BY_SHAPE = 0.75  # the most that a bone is sure of whose name says nothing: real rigs differ more than generated ones
_CONTRADICTED = 0.45  # and one whose name says another part or side
# Of ``Evidence.features``; fitted on generated skeletons by `build.py bench guess --fit`, which says on which.
WEIGHTS = np.array([-0.08, 0.2, 1.42, 2.09, 0.49, -2.83, -0.67, -3.82, 3.81, 0.8])


@dataclass(frozen=True)
class Evidence:
    """What speaks for one bone of a guessed map."""

    body_shape: float  # score of the worse of the legs and arms without names, 0 is best
    limb_shape: float  # of the limb that the bone belongs to
    name_parts: int  # how many parts the bone's name may mean; 0 if it says nothing
    name_fits: bool  # one of them is the part that was guessed
    helper: bool  # the name is a helper's
    side_contradicts: bool  # the name says the other side
    side_certainty: float  # of which side is left, at least 0
    names_fitting: float  # share of the map's bones whose names fit, 0 to 1

    def features(self) -> np.ndarray:
        """The numbers (10,) that ``WEIGHTS`` weigh."""
        shapes = np.clip([self.body_shape / 5, self.limb_shape / 5], -3, 0.5)
        fits = self.name_fits and self.name_parts > 0
        return np.array([
            1.0, *shapes, fits, fits and self.name_parts > 1, self.name_parts > 0 and not fits, self.helper,
            self.side_contradicts, min(self.side_certainty / 5, 1.0), self.names_fitting,
        ])  # fmt: skip

    def confidence(self) -> float:
        """The probability that the bone is right, 0 to 1."""
        probability = float(1 / (1 + np.exp(-self.features() @ WEIGHTS)))
        if self.side_contradicts or (self.name_parts > 0 and not self.name_fits) or self.helper:
            return round(min(probability, _CONTRADICTED), 3)
        return round(probability if self.name_parts else min(probability, _BY_SHAPE), 3)
