"""The add-on's preferences as its other modules read them: the worker's Python, the folders of jobs and weights."""

from pathlib import Path

import bpy

from ..weights.library import Library
from .worker import python_environment

ADDON = __package__.rpartition(".")[0]  # as Blender's preferences name it


def preferences() -> bpy.types.AddonPreferences | None:
    """The add-on's preferences; None where it was registered without being enabled as an add-on."""
    addon = bpy.context.preferences.addons.get(ADDON)
    return addon.preferences if addon else None


def worker_path() -> str:
    """The Python that the user named for the worker; empty for the one installed here."""
    chosen = preferences()
    return bpy.path.abspath(chosen.worker_python) if chosen else ""


def worker_python() -> Path:
    """The Python that the worker runs in; raises runtime.RuntimeProblem where there is none."""
    return python_environment.find(worker_path())


def jobs_folder() -> Path:
    """Where jobs lie."""
    chosen = preferences()
    if chosen and chosen.jobs_folder:
        return Path(bpy.path.abspath(chosen.jobs_folder))
    return python_environment.data_folder() / "jobs"


def library() -> Library:
    """The user's files."""
    return Library(python_environment.data_folder() / "weights")
