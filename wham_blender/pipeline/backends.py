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

    Raises PipelineError for full, which this version does not have, and WeightsError where a file is damaged.
    """
    if quality == "full":
        raise PipelineError(
            "This version has draft quality only: it cannot read the published weights yet. Choose auto or draft."
        )
    reason = "Draft quality, as asked for." if quality == "draft" else "Draft quality, the only one of this version."
    return Backend("draft", reason, {role: weights.find(role) for role in _DRAFT_ROLES})
