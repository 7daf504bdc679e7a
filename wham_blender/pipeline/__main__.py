"""``python -m wham_blender.pipeline CLIP -o motion.npz``: a clip goes in, a Motion file comes out."""

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

_FAILED, _CANCELLED = 1, 130  # exit codes, the second as a shell has it for SIGINT
_MOST_SMOOTH = 5.0  # seconds, as Smooth Motion has it
_PATIENCE = 0.7  # seconds from a signal to the end of the process
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the command line asks for; returns the exit code."""
    options = _parser().parse_args(arguments)
    tell = _tell_json if options.json else _Terminal()
    cancelled = protocol.Failed(f"Cancelled: {options.clip.name} was not imported. What was finished is kept.")
    _listen_for_cancel(lambda: tell(cancelled))
    try:
        return _work(options, tell)
    except KeyboardInterrupt:
        tell(cancelled)
        return _CANCELLED


def _listen_for_cancel(last_words: Callable[[], None]) -> None:
    """From now on SIGINT, SIGTERM and Windows' CTRL_BREAK raise KeyboardInterrupt in this thread.

    Where a library's long call does not let that through in time, a thread of its own ends the process.
    """
    here, there = socket.socketpair()
    there.setblocking(False)

    def watch() -> None:
        here.recv(1)
        time.sleep(_PATIENCE)
        last_words()
        _leave(_CANCELLED)

    threading.Thread(target=watch, name="cancel", daemon=True).start()
    signal.set_wakeup_fd(there.detach())
    for name in _SIGNALS:
        signal.signal(name, _cancel)


def _cancel(_signal: int, _frame: FrameType | None) -> None:
    for name in _SIGNALS:  # once is enough: what tidies up is not to be interrupted
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


def _leave(code: int) -> NoReturn:
    """End the process without the libraries' own tidying up, which takes a second or two."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _work(options: argparse.Namespace, tell: Callable[[protocol.Message], None]) -> int:
    try:
        from ..motion import MotionFileError
        from ..weights import WeightsError
        from .errors import PipelineError
        from .stages.job import Job
        from .stages.run import run
    except (ImportError, OSError) as error:  # a package is missing, or a shared library of one
        traceback.print_exc()
        tell(protocol.Failed(f"The worker's Python is not whole ({error}). Click Install Worker in the preferences."))
        return _FAILED
    tell(protocol.Environment(_environment()))
    try:
        job = Job(**{name: value for name, value in vars(options).items() if name != "json"})
        tell(protocol.Done(str(run(job, tell))))
    except (PipelineError, WeightsError, MotionFileError) as error:
        tell(protocol.Failed(str(error)))
        return _FAILED
    except Exception as error:  # a fault of ours: the sentence for the panel, the traceback for the log
        traceback.print_exc()
        tell(protocol.Failed(f"{options.clip.name} could not be imported: {error}. The log says where it happened."))
        return _FAILED
    return 0


def _environment() -> str:
    """Python, the versions of the packages asked for, and the card."""
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
    parser.add_argument("--resume", type=Path, metavar="DIR", help="keep finished stages here and go on from them")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quality", choices=("auto", "fast", "draft", "mixed", "full"), default="auto")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="the library of full quality's files")
    parser.add_argument("--camera", choices=("auto", "static", "moving"), default="auto")
    parser.add_argument("--focal-length", type=_millimetres, metavar="MM", help="of the lens, as on 35 mm film")
    parser.add_argument("--actor-height", type=_metres, metavar="M", help="of the first person; it scales the world")
    parser.add_argument(
        "--no-anchor", dest="anchor", action="store_false",
        help="with a camera that stands, trust the network's steps alone and not where the picture shows people",
    )  # fmt: skip
    parser.add_argument("--gender", choices=tuple(BODIES), default="neutral", help="of SMPL's body, in full quality")
    parser.add_argument(
        "--no-refine", dest="refine", action="store_false",
        help="do not bend the bodies until they project onto the keypoints (SMPLify)",
    )  # fmt: skip
    parser.add_argument(
        "--world", choices=("placed", "wham"), default="placed",
        help="placed: from the picture, WHAM's velocity and planted feet; wham: the network's own rollout, unchanged",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=_seconds, default=0.0, metavar="S",
        help="take out what trembles: movements that come again within so many seconds",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="say everything as lines of JSON")
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
    if 0 <= (value := float(text)) <= _MOST_SMOOTH:
        return value
    raise argparse.ArgumentTypeError(f"{text} is no time from 0 to {_MOST_SMOOTH:g} seconds")


def _tell_json(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


class _Terminal:
    """Shows messages to a person: one line of progress, the rest above it."""

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
    _leave(main())
