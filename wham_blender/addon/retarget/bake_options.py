"""What a bake can be asked for, and the error with which it refuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import CodedError
from . import reference_pose


class BakeError(CodedError):
    """A motion cannot be baked onto a rig; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Options:
    """How a motion is baked."""

    plant_feet: bool = True  # foot locking: planted feet stay in place; else legs only match directions
    root_motion: bool = False  # on the map's root bone instead of the hips alone
    arm_spread: float = 0.0  # radians that arms rotate outwards
    reduce_keys: bool = False  # keyframe reduction, within the next two tolerances
    angle_tolerance: float = np.radians(0.5)  # radians
    distance_tolerance: float = 0.005  # metres
    nla_strip: bool = False  # into an NLA strip instead of the rig's active action
    rest_pose: str = reference_pose.AUTO  # what counts as the rig's rest, see reference_pose.choose
