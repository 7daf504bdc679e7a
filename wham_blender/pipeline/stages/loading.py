"""Imports PyTorch and loads WHAM in a thread, while the first stage of a job, which needs neither, reads the clip."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from ... import protocol
from .cache import Tell
from .context import JobContext
from .detect import Detected

if TYPE_CHECKING:
    from .pose import Networks

WriteMotions = Callable[[JobContext, Detected, "Networks"], None]


class Loading:
    """The function of `motions` and the networks that it takes, loaded in a thread."""

    def __init__(self) -> None:
        self._loaded: Future[tuple[WriteMotions, Networks]] = Future()

    def begin(self, context: JobContext) -> None:
        """Begin to load what a job needs. Nobody waits for the thread if the job ends before."""

        def load() -> None:
            try:
                self._loaded.set_result(_load(context))
            except BaseException as error:  # raised again in the thread of the job
                self._loaded.set_exception(error)

        threading.Thread(target=load, name="loading", daemon=True).start()

    def checked(self, tell: Tell) -> Tell:
        """``tell``, which raises what loading raised: a job that must fail shall not read its whole clip before."""

        def tell_or_raise(message: protocol.Message) -> None:
            if self._loaded.done():
                self._loaded.result()
            tell(message)

        return tell_or_raise

    def result(self) -> tuple[WriteMotions, Networks]:
        """What was loaded; waits for it and raises what loading raised."""
        return self._loaded.result()


def _load(context: JobContext) -> tuple[WriteMotions, Networks]:
    try:
        from .motions import write_motions
        from .pose import load_networks
    except OSError as error:  # a shared library of a package is missing: as if the package was
        raise ImportError(str(error)) from error
    return write_motions, load_networks(context)
