"""Stands in for `batch.clip_worker` in tests: no networks, and faults by the clips' names. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Write a file for each task; a clip whose name has crash or slow in it kills the process or takes forever."""
    for number, line in enumerate(sys.stdin):
        arguments = json.loads(line)["arguments"]
        clip, output = Path(arguments[-1]), Path(arguments[0].removeprefix("--output="))
        if "crash" in clip.name:
            os.kill(os.getpid(), 9)
        while "slow" in clip.name:
            time.sleep(0.05)
        outcome = {"type": "Outcome", "status": "done", "seconds": 1.5, "frames": number + 1, "people": 1}
        if "damaged" in clip.name:
            outcome |= {"status": "failed", "code": "clip-unreadable", "sentence": f"{clip.name} is no video."}
        else:
            output.write_text(f"{os.getpid()} {os.environ['WHAM_CORES']} {' '.join(arguments[3:-2])}")
        print(json.dumps({"type": "Progress", "stage": "detect", "done": 1, "total": 2, "fraction": 0.5}))
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
