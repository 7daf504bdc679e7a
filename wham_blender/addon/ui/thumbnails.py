"""The pictures of the people found in a clip, as icons: files of the worker in the job's folder."""

from __future__ import annotations

import bpy
import bpy.utils.previews

from ..jobs.job_record import JobRecord

_pictures: bpy.utils.previews.ImagePreviewCollection | None = None


def picture(record: JobRecord, file: str | None) -> bpy.types.ImagePreview | None:
    """A picture in a job's folder; None if there is none. Without a window its ``icon_id`` is 0."""
    path = record.folder / (file or "")
    if _pictures is None or not path.is_file():
        return None
    return _pictures.get(str(path)) or _pictures.load(str(path), str(path), "IMAGE")


def register() -> None:
    """Create the collection of pictures."""
    global _pictures
    _pictures = bpy.utils.previews.new()


def unregister() -> None:
    """Remove the pictures."""
    global _pictures
    if _pictures is not None:
        bpy.utils.previews.remove(_pictures)
        _pictures = None
