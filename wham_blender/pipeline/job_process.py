"""One job in this process: runs what a command line asks for, and ends with a message; signals that cancel it."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from .. import corrections, protocol
from ..errors import CodedError, reason
from .errors import PipelineError
from .network_store import NetworkStore

FAILED, CANCELLED = 1, 130  # exit codes; 130 is what shells report for SIGINT
_CANCEL_TIMEOUT = 0.7  # seconds from a signal to the end of the process
_LAST_WORDS_TIMEOUT = 0.3  # seconds
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
# How libraries say that memory ran out: PyTorch on the processor and on a card, OpenCV, the system's loader.
_NO_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|Cannot allocate memory|out of memory|Insufficient memory|ALLOC_FAILED|"
    r"failed to map segment from shared object$"
)

Tell = protocol.Tell


def failure(clip: str, error: Exception) -> protocol.Failed:
    """The message for an exception that ends a job. The traceback of an unexpected one goes to the log."""
    if isinstance(error, CodedError):
        return protocol.Failed(str(error), code=error.code)
    traceback.print_exc()
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return protocol.Failed(
            f"Memory ran out while {clip} was imported. Close other programs, choose Draft, or import fewer frames at "
            "a time.",
            code="memory-low",
        )
    return protocol.Failed(
        f"{clip} could not be imported: {reason(error)}. The log says where it happened.", code="unexpected"
    )


def handle_cancel_signals(before_exit: Callable[[], None]) -> None:
    """Make SIGINT, SIGTERM and Windows' CTRL_BREAK raise KeyboardInterrupt in this thread from now on.

    If a long call into a library blocks that, a second thread calls ``before_exit`` and ends the process.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def exit_after_timeout() -> None:
        receiver.recv(1)
        time.sleep(_CANCEL_TIMEOUT)
        last_words = threading.Thread(target=before_exit, daemon=True)  # it waits if nobody reads the messages
        last_words.start()
        last_words.join(_LAST_WORDS_TIMEOUT)
        exit_now(CANCELLED)

    threading.Thread(target=exit_after_timeout, name="cancel", daemon=True).start()
    signal.set_wakeup_fd(sender.detach())
    for name in _SIGNALS:
        signal.signal(name, _cancel)


def _cancel(_signal: int, _frame: FrameType | None) -> None:
    for name in _SIGNALS:  # a second signal must not interrupt the cleanup
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


def exit_now(code: int) -> NoReturn:
    """End the process without the libraries' exit handlers, which take a second or two."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def result(options: argparse.Namespace, tell: Tell, networks: NetworkStore | None = None) -> protocol.Done:
    """Run the job of the options. Raises whatever ends it: a CodedError, or what `failure` makes a sentence of.

    ``networks``: those of earlier jobs in this process; None: they are loaded for this job.
    """
    _check_surroundings()
    try:
        try:
            from .stages.job import Job
            from .stages.run import run
        except OSError as error:  # a shared library of a package is missing
            raise ImportError(str(error)) from error
        tell(protocol.Environment(_environment()))
        values = {name: value for name, value in vars(options).items() if name not in ("json", "corrections")}
        if options.corrections:
            values["corrections"] = corrections.load(options.corrections).for_worker()
        return protocol.Done(str(run(Job(**values), tell, networks)))
    except ImportError as error:
        if _NO_MEMORY.search(str(error)):
            raise
        traceback.print_exc()
        raise PipelineError(
            f"The worker's Python is not whole ({reason(error)}). Click Install Worker in the preferences.",
            code="worker-incomplete",
        ) from error


def _check_surroundings() -> None:
    """Raise PipelineError for what the libraries would report by another cause."""
    try:
        Path.cwd()
    except OSError as error:
        raise PipelineError(
            "The folder in which the worker was started was deleted. Start Blender, or this command, in another "
            "folder.",
            code="working-folder-deleted",
        ) from error


def _environment() -> str:
    """Python, the versions of the packages in requirements.txt, and the graphics card, as text."""
    from . import devices

    names = re.findall(r"^([\w.-]+)", Path(__file__).with_name("requirements.txt").read_text("utf-8"), re.MULTILINE)
    versions = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    cards = ", ".join(map(str, devices.cards())) or "no CUDA card"
    return f"Python {platform.python_version()}, {', '.join(versions)}; {cards}"
