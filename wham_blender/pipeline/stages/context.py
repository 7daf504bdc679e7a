"""What every stage of a job is given, beside what the stages before it found."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch

from ... import protocol
from ..clip.video_reader import ClipInfo
from .backends import Backend
from .cache import StageCache, Tell
from .job import Job


@dataclass(frozen=True)
class JobContext:
    """A job with everything that was decided before its first stage."""

    job: Job
    info: ClipInfo
    clip_sha256: str
    backend: Backend
    device: torch.device
    cache: StageCache
    tell: Tell

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, pixels, upright."""
        return self.info.width, self.info.height

    def log(self, text: str) -> None:
        """Write a line to the log."""
        self.tell(protocol.Log(text))

    def warn(self, text: str) -> None:
        """Tell the animator a sentence; the job goes on."""
        self.tell(protocol.Warn(text))

    def free_memory(self) -> None:
        """Give the memory of networks that nothing refers to any more back to the card."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
