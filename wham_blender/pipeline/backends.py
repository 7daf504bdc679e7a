"""Which networks and weight files serve a quality setting."""

from __future__ import annotations

from dataclasses import dataclass

from .. import weights
from .errors import PipelineError

QUALITIES = ("auto", "draft", "full")
_DRAFT_ROLES = ("detector", "landmarks", "lifter", "wham", "body")


@dataclass(frozen=True)
class Backend:
    """The weight files of one quality setting, by role, each checked against its hash."""

    quality: str  # draft or full
    reason: str  # why this one, a sentence
    files: dict[str, weights.WeightFile]


def choose(quality: str) -> Backend:
    """The backend for one of QUALITIES.

    Raises PipelineError where its files are not there, and WeightsError where one that ships inside is damaged.
    """
    if quality == "full":
        raise PipelineError(
            "Full quality needs the published weights of WHAM, HMR2.0, ViTPose and YOLO and the SMPL body, and none of "
            "these files is here. Choose draft quality, which ships inside."
        )
    reason = "Draft quality, as asked for." if quality == "draft" else "Draft quality: the files of full are not here."
    return Backend("draft", reason, {role: weights.find(role) for role in _DRAFT_ROLES})
