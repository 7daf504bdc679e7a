"""The options of a job on the command line, for one clip and for a batch. Imports none of the networks' libraries."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .. import limits, protocol
from ..errors import printable
from ..weights.library import BODIES

# Ranges of options, which include those of the panel.
_FOCAL_LENGTHS = (1.0, 10_000.0)  # millimetres, 35 mm equivalent
_HEIGHTS = (0.1, 3.0)  # metres
_SMOOTHINGS = (0.0, 5.0)  # seconds
_SPEEDS = (0.01, 100.0)  # of a time lapse, and of a film of 3,000 fps played at 30


class Parser(argparse.ArgumentParser):
    """Reports wrong options as a message, too, if messages were asked for."""

    def __init__(self, description: str, tell: protocol.Tell | None, command: str = "") -> None:
        """``tell`` takes the message, None: there is none; ``command`` follows the module's name."""
        super().__init__(
            prog=f"python -I PATH/wham_blender/launch.py wham_blender.pipeline{command}", description=description
        )
        self._tell = tell

    def error(self, message: str) -> NoReturn:
        """End the process."""
        if self._tell:
            self._tell(
                protocol.Failed(f"The worker refused an option: {message}. Correct its value.", code="option-invalid")
            )
        super().error(message)


def job_parser(tell: protocol.Tell | None) -> argparse.ArgumentParser:
    """The parser of a job's command line; ``tell`` takes the message for a wrong one."""
    parser = Parser("Turn a clip of a person into a Motion file.", tell)
    parser.add_argument(
        "clip", type=clip_of, metavar="CLIP",
        help="the video; or a folder of numbered pictures, one of them, or a pattern such as shot_####.png",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=path_of, required=True, metavar="FILE", help="the motion.npz to write")
    parser.add_argument("--json", action="store_true", help="print messages as lines of JSON")
    parser.add_argument("--resume", type=path_of, metavar="DIR", help="store finished stages here and resume from them")
    parser.add_argument(
        "--skip-finished", action="store_true",
        help="leave the motion file as it is if it was made of the same clip, with the same options and networks",
    )  # fmt: skip
    return add_job_options(parser)


def add_job_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that a clip may have by itself, named as the fields of `stages.job.Job`; returns the parser."""
    parser.add_argument(
        "--person", type=_person, default="MAIN", help="MAIN (the default), ALL, or a number from 1, largest first"
    )
    parser.add_argument("--start", type=_frame, default=1, metavar="N", help="first frame of the clip, from 1")
    parser.add_argument("--end", type=_frame, metavar="N", help="last frame of the clip")
    parser.add_argument(
        "--fps",
        type=number(*limits.SEQUENCE_FPS),
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
        "--speed", type=number(*_SPEEDS), metavar="X",
        help="how many times slower the film is played than it was filmed: 8 for 240 fps played at 30; by default by "
        "the phone's metadata",
    )  # fmt: skip
    parser.add_argument(
        "--device", type=_device, default="auto",
        help="auto (the default: the best supported card, else the processor), cpu, cuda (the best card) or cuda:N",
    )  # fmt: skip
    parser.add_argument("--quality", choices=("auto", "fast", "draft", "mixed", "full"), default="auto")
    parser.add_argument("--weights", type=path_of, metavar="DIR", help="the library of Full quality's files")
    parser.add_argument("--camera", choices=("auto", "static", "moving"), default="auto")
    parser.add_argument(
        "--focal-length", type=number(*_FOCAL_LENGTHS), metavar="MM", help="focal length, 35 mm equivalent"
    )
    parser.add_argument(
        "--actor-height", type=number(*_HEIGHTS), metavar="M", help="height of the first person; it scales the world"
    )
    parser.add_argument(
        "--anchor", action=argparse.BooleanOptionalAction, default=True,
        help="with a static camera, keep people where the picture shows them, else use the network's velocity alone",
    )  # fmt: skip
    parser.add_argument("--gender", choices=tuple(BODIES), default="neutral", help="of SMPL's body, in Full quality")
    parser.add_argument(
        "--refine", action=argparse.BooleanOptionalAction, default=True,
        help="fit the bodies to the keypoints (SMPLify)",
    )  # fmt: skip
    parser.add_argument(
        "--hands", action=argparse.BooleanOptionalAction, default=True,
        help="look at hands; without, fingers stay relaxed, and wrists are the body network's",
    )  # fmt: skip
    parser.add_argument(
        "--world", choices=("placed", "wham"), default="placed",
        help="placed: from the picture, WHAM's velocity and planted feet; wham: the network's rollout, unchanged",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=number(*_SMOOTHINGS), default=0.0, metavar="S",
        help="smooth out movements that repeat within this time, in seconds",
    )  # fmt: skip
    parser.add_argument(
        "--corrections", type=path_of, metavar="FILE",
        help="corrections made by hand, such as a job's corrections.json: frames to distrust, who is who and more",
    )  # fmt: skip
    parser.add_argument(
        "--smplh",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write poses as AMASS has them: SMPL-H's 156 columns, with the fingers",
    )
    return parser


def arguments_of(options: argparse.Namespace) -> list[str]:
    """The command line of those job options in a namespace that differ from their defaults."""
    arguments = []
    for action in add_job_options(argparse.ArgumentParser(add_help=False))._actions:
        value = getattr(options, action.dest)
        if value == action.default:
            continue
        name = action.option_strings[0]
        if isinstance(action, argparse.BooleanOptionalAction):
            arguments.append(name if value else f"--no-{action.dest}")
        else:
            arguments.append(f"{name}={value}")
    return arguments


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


def path_of(text: str) -> Path:
    """The path that an argument names."""
    if "\0" in text:
        raise argparse.ArgumentTypeError("a path holds a null character")
    return Path(text)


def clip_of(text: str) -> Path:
    """The clip that an argument names, by a path with a name."""
    path = path_of(text)
    with contextlib.suppress(OSError):  # the current folder was deleted, which `_check_surroundings` tells
        return path if path.name.strip(".") else path.resolve()  # "." and ".." are no names to show
    return path


def _frame(text: str) -> int:
    if re.fullmatch("[+-]?[0-9]{1,9}", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{printable(text)} is no number of a frame")


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """A converter of arguments to numbers of a range."""

    def convert(text: str) -> float:
        if lowest <= (value := float(text)) <= highest:  # false for nan
            return value
        raise argparse.ArgumentTypeError(f"{text} is not from {lowest:g} to {highest:g}")

    return convert
