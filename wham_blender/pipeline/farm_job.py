"""The worker's command on a render farm, ``launch.py wham_blender.pipeline.farm_job CLIP FOLDER OPTIONS``: one clip.

FOLDER, on the shared storage, gets motion.npz, the stages, so that a second attempt goes on from there, and
status.json, which the add-on reads (farm_status.py). A corrections.json that lies there is applied. Progress and
failure are printed as Open Job Description's lines, ``openjd_progress: 41.5``, which Deadline Cloud understands and
which are plain words in the log of any other farm.
OPTIONS are those of `pipeline.options`; ``--end 0`` stands for the clip's last frame, as farms have no empty numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import threading
import time
from pathlib import Path

from .. import protocol
from ..corrections import FILE_NAME as CORRECTIONS
from ..errors import one_line
from ..farm_status import MOTION, FarmStatus
from .__main__ import main as run_clip
from .job_process import FAILED, exit_now

_PAUSE = 1.0  # seconds between two progresses in the log and on the shared storage; set by hand
_ATTEMPTS = 5  # to write the end of a job, a second apart: network drives fail for moments; set by hand


class Reporter:
    """Prints a job's messages as Open Job Description's lines and keeps them in the job's folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._status = folder, FarmStatus()
        self._written, self._lock = -_PAUSE, threading.Lock()  # seconds; the last progress

    def __call__(self, message: protocol.Message) -> None:
        """Print and keep a message; of progress, what comes a second after the last at the earliest."""
        with self._lock:
            now = time.monotonic()
            if isinstance(message, protocol.Progress):
                if now < self._written + _PAUSE:
                    return
                self._written = now
            for line in lines(message):
                protocol.write_line(line)
            if not isinstance(message, protocol.Log):
                self._status.add(message)
                self._save(_ATTEMPTS if isinstance(message, (protocol.Done, protocol.Failed)) else 1)

    def _save(self, attempts: int) -> None:
        """Write the status. A storage that is away for a moment does not end a job of an hour."""
        for attempt in range(attempts):
            if attempt:
                time.sleep(1.0)
            with contextlib.suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._status.save(self._folder)
                return


def lines(message: protocol.Message) -> list[str]:
    """The lines that a message is printed as, see Open Job Description's "How Jobs Are Run"."""
    match message:
        case protocol.Progress():
            share = f"{message.done} of {message.total}" if message.total > 1 else ""
            status = f"openjd_status: {one_line(message.stage)} {share}".rstrip()
            return [f"openjd_progress: {100 * message.fraction:.1f}", status]
        case protocol.Failed():
            return [f"openjd_fail: {one_line(message.text)}"]
        case protocol.Done():
            return ["openjd_progress: 100.0", f"Wrote {one_line(message.path)}"]
        case protocol.Log() | protocol.Warn() | protocol.Environment():
            return [one_line(message.text)]
        case protocol.People():
            return [f"People: {len(message.people)}"]
    return []


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -I PATH/wham_blender/launch.py wham_blender.pipeline.farm_job",
        description="Turn a clip of a person into a Motion file on a render farm",
        epilog="All other options are those of wham_blender.pipeline",
        allow_abbrev=False,
    )
    parser.add_argument("clip", metavar="CLIP", help="as for wham_blender.pipeline")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="gets motion.npz, status.json and the stages")
    parser.add_argument("--end", default="0", metavar="N", help="last frame of the clip; 0 (the default): its last")
    parser.add_argument(
        "--options", default="", metavar="TEXT", help="further options in one text, as a shell has them"
    )
    known, others = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    tell = Reporter(known.folder)
    try:
        others += shlex.split(known.options)
    except ValueError as error:
        message = f"--options: {error}"
        tell(protocol.Failed(f"The worker refused an option: {message}. Correct its value.", code="option-invalid"))
        return FAILED
    others += ["--end", known.end] if known.end != "0" else []
    if (known.folder / CORRECTIONS).is_file():
        others.append(f"--corrections={known.folder / CORRECTIONS}")
    # After what was asked for: results are looked for in this folder only.
    return run_clip([*others, f"--output={known.folder / MOTION}", f"--resume={known.folder}", "--", known.clip], tell)


if __name__ == "__main__":
    exit_now(main())
