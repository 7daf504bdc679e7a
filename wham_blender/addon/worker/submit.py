"""Submits a job to a render farm in a process of its own, which talks to the network and may take minutes. No bpy.

``wham_blender.addon.worker.submit deadline BUNDLE`` runs Deadline Cloud's own program, ``... flamenco ADDRESS FILE``
sends the job in a JSON file to a Flamenco Manager. They write messages of protocol.py; Done has the farm's name of the
job, if it is known.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import limits, protocol, records
from ...errors import CodedError, one_line, reason
from ...files import read_bounded
from .process import module_command

FARM_FILES = Path(__file__).resolve().parents[2] / "farm"
JOB_SCRIPT = FARM_FILES / "video_as_motion.js"
JOB_TYPE = JOB_SCRIPT.stem.replace("_", "-")  # as Flamenco names the type of a script
_TIMEOUT = 20.0  # seconds without an answer


class SubmitError(CodedError):
    """The farm did not take the job."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirection as an error: the job would be sent elsewhere, or without its content."""

    def redirect_request(self, *_: Any) -> None:
        return None


def deadline_command(bundle: Path, online: bool) -> list[str]:
    """The command that submits a job bundle, or only tells how if that must not go online."""
    return _command("deadline" if online else "offline", str(bundle))


def flamenco_command(address: str, file: Path) -> list[str]:
    """The command that submits the job in a file to the Manager at an address; Blender's interpreter runs it."""
    return _command("flamenco", address, str(file))


def _command(*arguments: str) -> list[str]:
    return module_command(Path(sys.executable), "wham_blender.addon.worker.submit", *arguments)


def submit_deadline(bundle: str) -> str:
    """Run ``deadline bundle submit``, if it is on this computer. Raises SubmitError."""
    program = shutil.which("deadline")
    if program is None:
        return tell_how(bundle)
    # Its output goes to the log.
    done = subprocess.run([program, "bundle", "submit", "--yes", bundle], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SubmitError(
            f"Deadline Cloud did not take the job (exit code {done.returncode}). The log says why; sign in with "
            "Deadline Cloud's own program if that is missing, and try again.",
            code="farm-refused",
        )
    return ""


def tell_how(bundle: str) -> str:
    """Warn that the bundle is not submitted yet, with the command that does it."""
    protocol.send(
        protocol.Warn(
            "The job is not submitted yet: Blender is offline, or lacks the program. Run: deadline bundle submit "
            f"{bundle}",
            code="farm-not-submitted",
        )
    )
    return ""


def submit_flamenco(address: str, file: str) -> str:
    """Send the job to the Manager, with the etag of its job type; returns the job's ID. Raises SubmitError."""
    job = records.parse(read_bounded(Path(file), limits.SETTINGS_BYTES), limits.SETTINGS_BYTES)
    kind = _ask(address, f"/api/v3/jobs/type/{JOB_TYPE}")
    etag = {"type_etag": kind["etag"]} if isinstance(kind.get("etag"), str) else {}
    return one_line(str(_ask(address, "/api/v3/jobs", job | etag).get("id", "")))


def _ask(address: str, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object that the Manager answers to a GET, or to a POST with content. Raises SubmitError."""
    if not address.startswith(("http://", "https://")):
        raise SubmitError(
            f"{address} is no address of a Flamenco Manager. Give one that begins with http:// in the preferences.",
            code="farm-unreachable",
        )
    try:
        request = urllib.request.Request(  # noqa: S310 - checked
            address + path, headers={"Content-Type": "application/json", "User-Agent": "wham_blender"},
            data=None if content is None else json.dumps(content).encode(),
        )  # fmt: skip
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT) as answer:
            values = records.parse(answer.read(limits.ANSWER_BYTES + 1), limits.ANSWER_BYTES)
        if isinstance(values, dict):
            return values
        cause = "its answer is none of Flamenco's"
    except urllib.error.HTTPError as error:
        raise _refused(address, path, error) from error
    except records.InvalidRecord as error:
        cause = reason(error)
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: the address itself
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        cause = reason(inner if isinstance(inner, Exception) else error)
    raise SubmitError(
        f"There is no Flamenco Manager at {address}: {cause}. Check the address in the preferences, and whether the "
        "Manager runs.",
        code="farm-unreachable",
    )


def _refused(address: str, path: str, error: urllib.error.HTTPError) -> SubmitError:
    """The error for an answer that is not a success."""
    with error:
        text = error.read(limits.ANSWER_BYTES)
    if error.code == 404 and path.endswith(JOB_TYPE):
        return SubmitError(
            f"The Flamenco Manager at {address} does not know the job type {JOB_TYPE}. Copy {JOB_SCRIPT} to its folder "
            "scripts and restart it.",
            code="farm-job-type-missing",
        )
    try:
        told = f"{error.code}, {one_line(records.parse(text, limits.ANSWER_BYTES)['message'][:300])}"
    except (records.InvalidRecord, KeyError, TypeError):
        told = str(error.code)
    return SubmitError(
        f"The Flamenco Manager at {address} did not take the job ({told}). Correct what it says, or try again.",
        code="farm-refused",
    )


_VERBS: dict[str, Callable[..., str]] = {
    "deadline": submit_deadline,
    "offline": tell_how,
    "flamenco": submit_flamenco,
}


def main() -> int:
    """Do what the command line says; the process's exit code."""
    verb, *arguments = sys.argv[1:]
    try:
        job = _VERBS[verb](*arguments)
    except CodedError as error:
        protocol.send(protocol.Failed(str(error), error.code))
        return 1
    protocol.send(protocol.Done(job))
    return 0


if __name__ == "__main__":
    sys.exit(main())
