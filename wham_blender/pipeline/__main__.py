"""The worker's command line, ``python -m wham_blender.pipeline CLIP -o motion.npz``: runs one job."""

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

from .. import protocol
from ..weights.library import BODIES

_FAILED, _CANCELLED = 1, 130  # exit codes; 130 is what shells report for SIGINT
_MAX_SMOOTH = 5.0  # seconds, as in the operator Smooth Motion
_CANCEL_TIMEOUT = 0.7  # seconds from a signal to the end of the process
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the command line asks for; returns the exit code."""
    options = _parser().parse_args(arguments)
    tell = _tell_json if options.json else _Terminal()
    cancelled = protocol.Failed(
        f"Cancelled: {options.clip.name} was not imported. What was finished is kept.", code="cancelled"
    )
    _handle_cancel_signals(lambda: tell(cancelled))
    try:
        return _run_job(options, tell)
    except KeyboardInterrupt:
        tell(cancelled)
        return _CANCELLED


def _handle_cancel_signals(before_exit: Callable[[], None]) -> None:
    """Make SIGINT, SIGTERM and Windows' CTRL_BREAK raise KeyboardInterrupt in this thread from now on.

    If a long call into a library blocks that, a second thread calls ``before_exit`` and ends the process.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def exit_after_timeout() -> None:
        receiver.recv(1)
        time.sleep(_CANCEL_TIMEOUT)
        before_exit()
        _exit_now(_CANCELLED)

    threading.Thread(target=exit_after_timeout, name="cancel", daemon=True).start()
    signal.set_wakeup_fd(sender.detach())
    for name in _SIGNALS:
        signal.signal(name, _cancel)


def _cancel(_signal: int, _frame: FrameType | None) -> None:
    for name in _SIGNALS:  # a second signal must not interrupt the cleanup
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


def _exit_now(code: int) -> NoReturn:
    """End the process without the libraries' exit handlers, which take a second or two."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_job(options: argparse.Namespace, tell: Callable[[protocol.Message], None]) -> int:
    try:
        from ..motion import MotionFileError
        from ..weights import WeightsError
        from .errors import PipelineError
        from .stages.job import Job
        from .stages.run import run
    except (ImportError, OSError) as error:  # a package is missing, or a shared library of one
        traceback.print_exc()
        tell(
            protocol.Failed(
                f"The worker's Python is not whole ({error}). Click Install Worker in the preferences.",
                code="worker-incomplete",
            )
        )
        return _FAILED
    tell(protocol.Environment(_environment()))
    try:
        job = Job(**{name: value for name, value in vars(options).items() if name != "json"})
        tell(protocol.Done(str(run(job, tell))))
    except (PipelineError, WeightsError, MotionFileError) as error:
        tell(protocol.Failed(str(error), code=error.code))
        return _FAILED
    except Exception as error:  # a bug: the sentence goes to the panel, the traceback to the log
        traceback.print_exc()
        tell(
            protocol.Failed(
                f"{options.clip.name} could not be imported: {error}. The log says where it happened.",
                code="unexpected",
            )
        )
        return _FAILED
    return 0


def _environment() -> str:
    """Python, the versions of the packages in requirements.txt, and the graphics card, as text."""
    import torch

    names = re.findall(r"^([\w.-]+)", Path(__file__).with_name("requirements.txt").read_text("utf-8"), re.MULTILINE)
    versions = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA card"
    return f"Python {platform.python_version()}, {', '.join(versions)}; {card}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wham_blender.pipeline", description="Turn a clip of a person into a Motion file."
    )
    parser.add_argument("clip", type=Path, metavar="CLIP", help="the video")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the motion.npz to write")
    parser.add_argument(
        "--person", type=_person, default="MAIN", help="MAIN (the default), ALL, or a number from 1, largest first"
    )
    parser.add_argument("--start", type=int, default=1, metavar="N", help="first frame of the clip, from 1")
    parser.add_argument("--end", type=int, metavar="N", help="last frame of the clip")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="store finished stages here and resume from them")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quality", choices=("auto", "fast", "draft", "mixed", "full"), default="auto")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="the library of full quality's files")
    parser.add_argument("--camera", choices=("auto", "static", "moving"), default="auto")
    parser.add_argument("--focal-length", type=_millimetres, metavar="MM", help="focal length, 35 mm equivalent")
    parser.add_argument(
        "--actor-height", type=_metres, metavar="M", help="height of the first person; it scales the world"
    )
    parser.add_argument(
        "--no-anchor", dest="anchor", action="store_false",
        help="with a static camera, use the network's velocity alone and not the position of people in the picture",
    )  # fmt: skip
    parser.add_argument("--gender", choices=tuple(BODIES), default="neutral", help="of SMPL's body, in full quality")
    parser.add_argument(
        "--no-refine", dest="refine", action="store_false",
        help="do not fit the bodies to the keypoints (SMPLify)",
    )  # fmt: skip
    parser.add_argument(
        "--world", choices=("placed", "wham"), default="placed",
        help="placed: from the picture, WHAM's velocity and planted feet; wham: the network's rollout, unchanged",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=_seconds, default=0.0, metavar="S",
        help="smooth out movements that repeat within this time, in seconds",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print messages as lines of JSON")
    return parser


def _person(text: str) -> str | int:
    if text.upper() in ("MAIN", "ALL"):
        return text.upper()
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is neither MAIN nor ALL nor a number from 1")


def _millimetres(text: str) -> float:
    if (value := float(text)) > 0:
        return value
    raise argparse.ArgumentTypeError(f"{text} is no length of a lens")


def _metres(text: str) -> float:
    if 0 < (value := float(text)) < 3:
        return value
    raise argparse.ArgumentTypeError(f"{text} is no height of a person in metres")


def _seconds(text: str) -> float:
    if 0 <= (value := float(text)) <= _MAX_SMOOTH:
        return value
    raise argparse.ArgumentTypeError(f"{text} is no time from 0 to {_MAX_SMOOTH:g} seconds")


def _tell_json(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


class _Terminal:
    """Prints messages as text: a progress bar, and the other messages above it."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=100, bar_format="{desc:<10}|{bar}| {n:3.0f} % {postfix}", leave=False)

    def __call__(self, message: protocol.Message) -> None:
        match message:
            case protocol.Progress():
                left = "" if message.seconds_left is None else f", {message.seconds_left:.0f} s left"
                self._bar.set_description_str(message.stage, refresh=False)
                self._bar.set_postfix_str(f"{message.done} of {message.total}{left}", refresh=False)
                self._bar.n = 100 * message.fraction
                self._bar.refresh()
            case protocol.People():
                for person in message.people:
                    self._write(
                        f"Person {person['id']}: frames {person['first_frame']} to {person['last_frame']}, "
                        f"{person['height']:.0%} of the picture high"
                    )
            case protocol.Log() | protocol.Warn():
                self._write(message.text)
            case protocol.Failed():
                self._bar.close()
                print(message.text, file=sys.stderr)
            case protocol.Done():
                self._bar.close()
                print(f"Wrote {message.path}")

    def _write(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)


if __name__ == "__main__":
    _exit_now(main())
