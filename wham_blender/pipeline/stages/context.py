"""JobContext: the input of every stage of a job, apart from the results of earlier stages."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ... import protocol
from ...errors import one_line
from .. import cuda
from ..clip.image_sequence import Clip
from ..clip.video_reader import ClipInfo
from ..network_store import Network, NetworkStore
from .backends import Backend
from .cache import StageCache, Tell
from .job import Job

RESULT_KEY = "result_key"  # in a motion file's ``meta``


@dataclass(frozen=True)
class JobContext:
    """A job, and what is decided before its first stage: clip, weights, device, cache, message channel."""

    job: Job
    info: ClipInfo
    clip_sha256: str
    result_key: str  # a hash of all that the job's motion depends on: see `run.result_key`
    backend: Backend
    device: str  # cpu or cuda:N
    cache: StageCache
    tell: Tell
    networks: NetworkStore = field(default_factory=NetworkStore)

    @property
    def clip(self) -> Clip:
        """What `video_reader` reads: the path of a video, or an image sequence."""
        return self.info.path

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, pixels, upright."""
        return self.info.width, self.info.height

    def network(self, role: str, load: Callable[[], Network], *more: Hashable) -> Network:
        """The network of a role's file on the job's device, from an earlier job of this process or loaded now.

        ``more``: what else it was loaded from.
        """
        return self.networks.get((role, self.backend.files[role].sha256, str(self.device), *more), load)

    def log(self, text: str) -> None:
        """Write a line to the log."""
        self.tell(protocol.Log(text))

    def warn(self, text: str, code: str = "") -> None:
        """Show the animator a sentence; the job goes on."""
        self.tell(protocol.Warn(one_line(text), code))

    def free_memory(self) -> None:
        """Free the GPU memory of networks that are no longer referenced."""
        gc.collect()
        if self.device != "cpu":
            cuda.free_cache()
