"""The worker's command line: ``python -I launch.py wham_blender.pipeline CLIP -o motion.npz`` runs one job.

``... wham_blender.pipeline batch CLIPS -o FOLDER`` runs many, see `batch.command`.
"""

from __future__ import annotations

import sys

from .. import protocol
from ..errors import one_line
from .job_process import CANCELLED, FAILED, Tell, exit_now, failure, handle_cancel_signals, result
from .options import job_parser
from .terminal import Terminal

_BATCH = "batch"  # a clip of that name is given as ./batch


def main(arguments: list[str] | None = None, tell: Tell | None = None) -> int:
    """Run the job, or the batch of jobs, that the command line asks for; returns the exit code.

    ``tell`` gets what would be printed of a job.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == [_BATCH]:
        from .batch.command import main as run_batch  # NumPy may be missing, which `result` has a sentence for

        return run_batch(arguments[1:])
    if tell is None and "--json" in arguments:
        tell = protocol.send
    options = job_parser(tell).parse_args(arguments)
    tell = tell or Terminal()
    name = one_line(options.clip.name)
    cancelled = protocol.Failed(f"Cancelled: {name} was not imported. What was finished is kept.", code="cancelled")
    handle_cancel_signals(lambda: tell(cancelled))
    try:
        tell(result(options, tell))
    except KeyboardInterrupt:
        tell(cancelled)
        return CANCELLED
    except Exception as error:
        tell(failure(name, error))
        return FAILED
    return 0


if __name__ == "__main__":
    exit_now(main())
