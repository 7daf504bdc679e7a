"""Access to the add-on's preferences for its other modules: the worker's Python, the folders of jobs and weights."""

from pathlib import Path

import bpy

from ..weights.library import Library
from .worker import python_environment

ADDON = __package__.rpartition(".")[0]  # as Blender's preferences name it


def preferences() -> bpy.types.AddonPreferences | None:
    """The add-on's preferences; None if it was registered without being enabled as an add-on."""
    addon = bpy.context.preferences.addons.get(ADDON)
    return addon.preferences if addon else None


def worker_path() -> str:
    """The Python that the user chose for the worker; empty for the installed environment."""
    chosen = preferences()
    return bpy.path.abspath(chosen.worker_python) if chosen else ""


def worker_python() -> Path:
    """The Python that the worker runs in; raises WorkerError if there is none."""
    return python_environment.find(worker_path())


def lacks_full_packages() -> bool:
    """Whether the worker that jobs use was installed without the packages that only full quality needs."""
    return not worker_path() and python_environment.lacks_full_packages()


def jobs_folder() -> Path:
    """The folder that contains the jobs' folders."""
    chosen = preferences()
    if chosen and chosen.jobs_folder:
        return Path(bpy.path.abspath(chosen.jobs_folder))
    return python_environment.data_folder() / "jobs"


def library() -> Library:
    """The user's library of weight files."""
    return Library(python_environment.data_folder() / "weights")
