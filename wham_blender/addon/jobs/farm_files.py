"""The files of a farm's job: what is written to be submitted, and what is brought back from its folder."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from ... import corrections, farm_status, image_sequence, limits, records
from ...farm_status import MOTION, FarmStatus
from ...files import open_regular, replace_text, replaced
from ..settings import Farm
from ..worker import submit
from .import_job import further_arguments
from .job_record import JobRecord

_BLOCK = 1 << 20  # bytes
_TITLE = 100  # characters, as the template allows
_FILM = re.compile(r"film-[0-9a-f]{1,64}\.mp4")  # as the worker names the copy of a clip for Blender
_PLATFORMS = {"win32": "windows"}  # as Go, in which Flamenco is written, names them


def write_bundle(record: JobRecord, farm: Farm) -> Path:
    """Write a Deadline Cloud job bundle into the job's folder on the shared storage; returns it. Raises OSError."""
    bundle = Path(record.farm) / "bundle"
    bundle.mkdir(parents=True)
    settings = {name.title().replace("_", ""): value for name, value in _settings(record, farm).items()}
    values = {"JobName": record.title[:_TITLE], **settings}
    clip = Path(record.clip)
    is_sequence = image_sequence.find(clip) is not None
    files = [*([] if is_sequence else [str(clip)]), *_with_corrections(record)]
    inputs = {"filenames": files, "directories": [str(clip.parent)] * is_sequence}
    references = {"inputs": inputs, "outputs": {"directories": [record.farm]}, "referencedPaths": []}
    shutil.copyfile(submit.FARM_FILES / "template.json", bundle / "template.json")
    _write(bundle / "parameter_values.json", {"parameterValues": [{"name": n, "value": v} for n, v in values.items()]})
    _write(bundle / "asset_references.json", {"assetReferences": references})
    return bundle


def write_flamenco_job(record: JobRecord, farm: Farm) -> Path:
    """Write what is sent to a Flamenco Manager into the job's folder on the shared storage. Raises OSError."""
    job = {
        "name": record.title,
        "type": submit.JOB_TYPE,
        "submitter_platform": _PLATFORMS.get(sys.platform, sys.platform),
        "priority": 50,
        "settings": _settings(record, farm),
    }
    path = Path(record.farm) / "flamenco_job.json"
    path.parent.mkdir(parents=True)
    _with_corrections(record)
    _write(path, job)
    return path


def _settings(record: JobRecord, farm: Farm) -> dict[str, Any]:
    """The settings of a farm's job by their names in Flamenco's job type; the template has ``AddonFolder``."""
    options = record.options
    return {
        "clip": record.clip,
        "output_folder": record.farm,
        "person": str(options["person"]).strip().upper(),
        "quality": options["quality"].lower(),
        "start": options["clip_start"],
        "end": options["clip_end"],
        "options": shlex.join(further_arguments(options)),
        "python": farm.python,
        "addon_folder": farm.addon,
    }


def _with_corrections(record: JobRecord) -> list[str]:
    """Copy the job's corrections into its folder on the shared storage, where the worker looks for them.

    Returns the copies: one, or none. Raises OSError.
    """
    if not record.corrections.is_file():
        return []
    copy = Path(record.farm) / corrections.FILE_NAME
    _copy(record.corrections, copy)
    return [str(copy)]


def _write(path: Path, content: dict[str, Any]) -> None:
    replace_text(path, json.dumps(content, indent=1))


def bring(record: JobRecord) -> FarmStatus | str | None:
    """How far the farm's job is; if it is done, its files are in the record's folder now. May take minutes.

    None if it has not begun; a sentence if its folder cannot be read, or its files cannot be written here.
    """
    source = Path(record.farm)
    try:
        status = farm_status.load(source)
        if status is not None and status.done:
            people = status.people.people if status.people else []
            pictures = [person.picture for person in people if person.picture]
            films = [path.name for path in source.iterdir() if _FILM.fullmatch(path.name)]
            for name in (*pictures, *films):
                _copy(source / name, record.folder / name)
            _copy(source / MOTION, record.result_path(record.person))
        return status
    except OSError as error:
        return (
            f"The result of {record.title} cannot be brought from {source}: {error.strerror or error}. Connect that "
            "storage, or make space here."
        )
    except records.InvalidRecord:
        return f"What the farm wrote about {record.title} in {source} cannot be read. Wait, or submit it again."


def _copy(source: Path, target: Path) -> None:
    """Copy a file of bounded size; the target is complete or as it was. Raises OSError."""
    left = limits.FARM_BYTES
    with open_regular(source) as stream, replaced(target) as copy:
        while block := stream.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(source))
            copy.write(block)
