"""The worker's command line, ``python -I launch.py wham_blender.pipeline CLIP -o motion.npz``: runs one job."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
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
from typing import Any, NoReturn

from .. import corrections, limits, protocol
from ..errors import CodedError, one_line, printable, reason
from ..weights.library import BODIES
from .errors import PipelineError

_FAILED, _CANCELLED = 1, 130  # exit codes; 130 is what shells report for SIGINT
# Ranges of options, which include those of the panel.
_FOCAL_LENGTHS = (1.0, 10_000.0)  # millimetres, 35 mm equivalent
_HEIGHTS = (0.1, 3.0)  # metres
_SMOOTHINGS = (0.0, 5.0)  # seconds
_SPEEDS = (0.01, 100.0)  # of a time lapse, and of a film of 3,000 fps played at 30
_CANCEL_TIMEOUT = 0.7  # seconds from a signal to the end of the process
_LAST_WORDS_TIMEOUT = 0.3  # seconds
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
# How libraries say that memory ran out: PyTorch on the processor and on a card, OpenCV, the system's loader.
_NO_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|Cannot allocate memory|out of memory|Insufficient memory|ALLOC_FAILED|"
    r"failed to map segment from shared object$"
)

Tell = Callable[[protocol.Message], None]


def main(arguments: list[str] | None = None, tell: Tell | None = None) -> int:
    """Run the job that the command line asks for; returns the exit code. ``tell`` gets what would be printed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if tell is None and "--json" in arguments:
        tell = protocol.send
    options = _parser(tell).parse_args(arguments)
    tell = tell or _Terminal()
    name = one_line(options.clip.name)
    cancelled = protocol.Failed(f"Cancelled: {name} was not imported. What was finished is kept.", code="cancelled")
    _handle_cancel_signals(lambda: tell(cancelled))
    try:
        tell(_result(options, tell))
    except KeyboardInterrupt:
        tell(cancelled)
        return _CANCELLED
    except Exception as error:
        tell(_failure(name, error))
        return _FAILED
    return 0


def _failure(clip: str, error: Exception) -> protocol.Failed:
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


def _handle_cancel_signals(before_exit: Callable[[], None]) -> None:
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
        exit_now(_CANCELLED)

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


def _result(options: argparse.Namespace, tell: Tell) -> protocol.Done:
    """Run the job. Raises whatever ends it: a CodedError with a sentence, or what `_failure` makes one of."""
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
        return protocol.Done(str(run(Job(**values), tell)))
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


class _Parser(argparse.ArgumentParser):
    """Reports wrong options as a message, too, if messages were asked for."""

    tell: Tell | None = None

    def error(self, message: str) -> NoReturn:
        """End the process."""
        if self.tell:
            self.tell(
                protocol.Failed(f"The worker refused an option: {message}. Correct its value.", code="option-invalid")
            )
        super().error(message)


def _parser(tell: Tell | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -I PATH/wham_blender/launch.py wham_blender.pipeline",
        description="Turn a clip of a person into a Motion file.",
    )
    parser.tell = tell
    parser.add_argument(
        "clip", type=_clip, metavar="CLIP",
        help="the video; or a folder of numbered pictures, one of them, or a pattern such as shot_####.png",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=_path, required=True, metavar="FILE", help="the motion.npz to write")
    parser.add_argument(
        "--person", type=_person, default="MAIN", help="MAIN (the default), ALL, or a number from 1, largest first"
    )
    parser.add_argument("--start", type=_frame, default=1, metavar="N", help="first frame of the clip, from 1")
    parser.add_argument("--end", type=_frame, metavar="N", help="last frame of the clip")
    parser.add_argument(
        "--fps",
        type=_number(*limits.SEQUENCE_FPS),
        metavar="N",
        help="of an image sequence; 24 if not given",
    )
    parser.add_argument(
        "--rotate",
        type=int,
        choices=(0, 90, 180, 270),
        default=0,
        help="degrees clockwise by which the clip is rotated",
    )
    parser.add_argument(
        "--speed", type=_number(*_SPEEDS), metavar="X",
        help="how many times slower the film is played than it was filmed: 8 for 240 fps played at 30; by default by "
        "the phone's metadata",
    )  # fmt: skip
    parser.add_argument("--resume", type=_path, metavar="DIR", help="store finished stages here and resume from them")
    parser.add_argument(
        "--device", type=_device, default="auto",
        help="auto (the default: the best supported card, else the processor), cpu, cuda (the best card) or cuda:N",
    )  # fmt: skip
    parser.add_argument("--quality", choices=("auto", "fast", "draft", "mixed", "full"), default="auto")
    parser.add_argument("--weights", type=_path, metavar="DIR", help="the library of full quality's files")
    parser.add_argument("--camera", choices=("auto", "static", "moving"), default="auto")
    parser.add_argument(
        "--focal-length", type=_number(*_FOCAL_LENGTHS), metavar="MM", help="focal length, 35 mm equivalent"
    )
    parser.add_argument(
        "--actor-height", type=_number(*_HEIGHTS), metavar="M", help="height of the first person; it scales the world"
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
        "--no-hands", dest="hands", action="store_false",
        help="do not look at hands: fingers stay relaxed, and wrists are the body network's",
    )  # fmt: skip
    parser.add_argument(
        "--world", choices=("placed", "wham"), default="placed",
        help="placed: from the picture, WHAM's velocity and planted feet; wham: the network's rollout, unchanged",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=_number(*_SMOOTHINGS), default=0.0, metavar="S",
        help="smooth out movements that repeat within this time, in seconds",
    )  # fmt: skip
    parser.add_argument(
        "--corrections", type=_path, metavar="FILE",
        help="corrections made by hand, such as a job's corrections.json: frames to distrust, who is who and more",
    )  # fmt: skip
    parser.add_argument(
        "--smplh", action="store_true", help="write poses as AMASS has them: SMPL-H's 156 columns, with the fingers"
    )
    parser.add_argument("--json", action="store_true", help="print messages as lines of JSON")
    return parser


def _person(text: str) -> str | int:
    if text.upper() in ("MAIN", "ALL"):
        return text.upper()
    if re.fullmatch("[1-9][0-9]{0,5}", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{printable(text)} is neither MAIN nor ALL nor a number from 1")


def _device(text: str) -> str:
    kind, space, name = text.partition(" ")
    if re.fullmatch(r"(auto|cpu|cuda|cuda:[0-9]{1,3})", kind.lower()) and (not name or ":" in kind):
        return f"{kind.lower()}{space}{name}".rstrip()
    raise argparse.ArgumentTypeError(f"{printable(text)} is neither auto nor cpu nor cuda nor cuda:N")


def _path(text: str) -> Path:
    if "\0" in text:
        raise argparse.ArgumentTypeError("a path holds a null character")
    return Path(text)


def _clip(text: str) -> Path:
    path = _path(text)
    with contextlib.suppress(OSError):  # the current folder was deleted, which `_check_surroundings` tells
        return path if path.name.strip(".") else path.resolve()  # "." and ".." are no names to show
    return path


def _frame(text: str) -> int:
    if re.fullmatch("[+-]?[0-9]{1,9}", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{printable(text)} is no number of a frame")


def _number(lowest: float, highest: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        if lowest <= (value := float(text)) <= highest:  # false for nan
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {lowest:g} to {highest:g}")

    return number


class _Terminal:
    """Prints messages as text: a progress bar, and the other messages above it."""

    def __init__(self) -> None:
        self._bar: Any = None
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # names of files may have what the terminal cannot show

    def __call__(self, message: protocol.Message) -> None:
        match message:
            case protocol.Progress():
                left = "" if message.seconds_left is None else f", {message.seconds_left:.0f} s left"
                bar = self._bar = self._bar or _new_bar()
                bar.set_description_str(message.stage, refresh=False)
                bar.set_postfix_str(f"{message.done} of {message.total}{left}", refresh=False)
                bar.n = 100 * message.fraction
                bar.refresh()
            case protocol.People():
                for person in message.people:
                    self._write(
                        f"Person {person.id}: frames {person.first_frame} to {person.last_frame}, "
                        f"{person.height:.0%} of the picture high"
                    )
            case protocol.Log() | protocol.Warn():
                self._write(message.text)
            case protocol.Failed():
                self._close()
                print(message.text, file=sys.stderr)
            case protocol.Done():
                self._close()
                protocol.write_line(f"Wrote {one_line(message.path)}")

    def _write(self, text: str) -> None:
        if self._bar:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)

    def _close(self) -> None:
        if self._bar:
            self._bar.close()


def _new_bar() -> Any:
    from tqdm import tqdm

    return tqdm(total=100, bar_format="{desc:<10}|{bar}| {n:3.0f} % {postfix}", leave=False)


if __name__ == "__main__":
    exit_now(main())
