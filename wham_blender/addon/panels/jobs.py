"""Sidebar panel Jobs: the state of each import job, its errors and warnings, and the people found in its clip."""

from __future__ import annotations

from collections.abc import Collection

import bpy

from ...protocol import Progress
from ..jobs import job_record
from ..jobs.import_job import blocked, is_active, is_interrupted, jobs, usable_options, works
from ..jobs.job_record import JobRecord, Status
from ..jobs.queue import job_queue
from ..scene import character
from ..translations import translate
from ..ui import thumbnails
from ..ui.ui_text import draw_bar, draw_sentence
from .sidebar import SidebarPanel

_SHOWN_JOBS = 8  # the newest
_SHOWN_PEOPLE = 50  # of each, the largest; the option Person takes the numbers of the others
_ICONS = {
    Status.QUEUED: "TIME",
    Status.RUNNING: "PLAY",
    Status.ON_FARM: "NETWORK_DRIVE",
    Status.CANCELLED: "CANCEL",
    Status.FAILED: "ERROR",
    Status.DONE: "IMPORT",
    Status.IMPORTED: "CHECKMARK",
}


class WHAM_PT_jobs(SidebarPanel, bpy.types.Panel):
    """The jobs of this and of earlier Blender sessions."""

    bl_label = "Jobs"
    bl_order = 2

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        """Draw the buttons for all jobs."""
        row = self.layout.row(align=True)
        row.operator("wham.refresh_jobs", text="", icon="FILE_REFRESH", emboss=False)
        row.operator("wham.clean_jobs", text="", icon="TRASH", emboss=False)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a box for each job that has not ended, and for the newest if the user may go on with it."""
        layout = self.layout
        if not jobs.all:
            layout.label(text="Imported clips are listed here")
        there = character.people_by_job(context.scene)
        for record in jobs.all[:_SHOWN_JOBS]:
            if not _is_earlier(record, there):
                draw_job(layout.box(), record, there.get(record.name, ()))


class WHAM_PT_earlier_jobs(SidebarPanel, bpy.types.Panel):
    """The jobs that have ended."""

    bl_label = "Earlier Jobs"
    bl_parent_id = "WHAM_PT_jobs"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only if there are some."""
        there = character.people_by_job(context.scene)
        return any(_is_earlier(record, there) for record in jobs.all[:_SHOWN_JOBS])

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a box for each of them, the newest first."""
        there = character.people_by_job(context.scene)
        for record in jobs.all[:_SHOWN_JOBS]:
            if _is_earlier(record, there):
                draw_job(self.layout.box(), record, there.get(record.name, ()))
        row = self.layout.row()
        row.active = False
        row.label(text=translate(f"{_bytes(sum(jobs.sizes.values()))}; kept for {job_record.KEPT_DAYS} days"))


def _is_earlier(record: JobRecord, there: Collection[str]) -> bool:
    """Whether a job is folded: imported or cancelled. A failed one waits for the user.

    Not the newest if it was cancelled, has other people to import, or is not among the jobs whose people are ``there``,
    in the scene, as after an undo.
    """
    if is_interrupted(record) or record.status not in {Status.IMPORTED, Status.CANCELLED}:
        return False
    goes_on = record.status is Status.CANCELLED or len(record.people) > 1 or record.name not in there
    return record is not jobs.all[0] or not goes_on


def draw_failed(layout: bpy.types.UILayout) -> None:
    """Draw that the newest job failed, and what its error is; the panel Jobs, below the result, has the rest."""
    record = jobs.all[0] if jobs.all else None
    if record is None or record.status is not Status.FAILED or job_queue.busy:
        return
    row = layout.row(align=True)
    column = row.column()
    draw_sentence(column, record.error, icon="ERROR", most=2)
    explain = row.operator("wham.explain", text="", icon="QUESTION")
    explain.sentence, explain.code = record.error, record.error_code


def draw_job(layout: bpy.types.UILayout, record: JobRecord, there: Collection[int] = ()) -> None:
    """Draw one job: its state and the operators that apply to it. ``there``: its people who are in the scene."""
    interrupted = is_interrupted(record)
    elsewhere = record.name in jobs.elsewhere
    head = layout.row(align=True)
    head.label(text=record.title, icon="PAUSE" if interrupted else _ICONS[record.status])
    if record.status is not Status.FAILED and record.log.is_file():  # a failed job has this button beside its error
        head.operator("wm.path_open", text="", icon="TEXT", emboss=False).filepath = str(record.log)
    if not is_active(record) and not elsewhere:
        head.operator("wham.discard_job", text="", icon="X", emboss=False).job = record.name
    if job_queue.running is not None and getattr(job_queue.running, "record", None) is record:
        draw_sentence(layout, _state_text(record, "running"), icon="BLANK1", dim=True)
    elif elsewhere:
        draw_sentence(layout, _state_text(record, "running in another Blender"), icon="BLANK1", dim=True)
    elif record.status is Status.QUEUED and not interrupted:
        row = layout.row(align=True)
        row.label(text="waiting for other jobs", icon="BLANK1")
        row.operator("wham.cancel", text="", icon="CANCEL").job = record.name
    elif interrupted:
        draw_sentence(layout, _state_text(record, "interrupted when Blender closed"), icon="BLANK1", dim=True)
        layout.operator("wham.resume_job", icon="PLAY").job = record.name
    else:
        _draw_ended(layout, record, there)
    for warning in record.warnings:
        draw_sentence(layout, warning)
    if record.people:
        draw_people(layout, record, there)


def _state_text(record: JobRecord, state: str) -> str:
    """The state of a job, with its range of frames if that is not the entire clip."""
    options = usable_options(record)
    start, end = options.get("clip_start", 1), options.get("clip_end", 0)
    return f"{state}, frames {start}-{end or 'end'}" if start > 1 or end else state


def _draw_ended(layout: bpy.types.UILayout, record: JobRecord, there: Collection[int]) -> None:
    """Draw a job that has ended: its error or result, and the operators that apply to it."""
    name = record.name
    if record.status is Status.FAILED:
        draw_sentence(layout, record.error, icon="ERROR")
        row = layout.row(align=True)
        row.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = str(record.log)
        row.operator("wham.copy_report", icon="COPYDOWN").job = name
        explain = row.operator("wham.explain", text="", icon="QUESTION")
        explain.sentence, explain.code = record.error, record.error_code
    elif record.status is Status.ON_FARM:
        _draw_on_farm(layout, record)
    elif record.status is Status.DONE:
        waiting = any(work.record is record for work in works())
        windows = bpy.context.window_manager.windows
        reason = blocked(bpy.context.window or windows[0]) if waiting and windows else ""
        draw_sentence(layout, _state_text(record, reason or "ready to import"), icon="BLANK1", dim=True)
        layout.operator("wham.import_job", icon="IMPORT").job = name
    elif record.status is Status.IMPORTED and not there:  # undone or deleted, or another file is open
        draw_sentence(layout, _state_text(record, "not in this scene"), icon="BLANK1", dim=True)
        layout.operator("wham.import_job", icon="IMPORT").job = name
    else:
        state = _state_text(record, f"{record.status.value}, {_bytes(jobs.sizes.get(name, 0))}")
        draw_sentence(layout, state, icon="BLANK1", dim=True)
    if record.status in {Status.FAILED, Status.CANCELLED}:
        text = "Try Again" if record.status is Status.FAILED else "Resume"
        layout.operator("wham.resume_job", text=text, icon="FILE_REFRESH").job = name


def _draw_on_farm(layout: bpy.types.UILayout, record: JobRecord) -> None:
    """Draw how far a job on the farm is, as its folder on the shared storage said at the last look."""
    seen = jobs.on_farm.get(record.name)
    draw_sentence(layout, _state_text(record, record.status.value), icon="BLANK1", dim=True)
    if isinstance(seen, Progress):
        draw_bar(layout, seen)
    elif seen:
        draw_sentence(layout, seen)


def draw_people(layout: bpy.types.UILayout, record: JobRecord, there: Collection[int]) -> None:
    """Draw the people found in a clip, each with a button that imports that person.

    The buttons of those who are in the scene already, ``there``, look pressed.
    """
    grid = layout.grid_flow(row_major=True, columns=2 if len(record.people) > 1 else 1, even_columns=True, align=True)
    grid.enabled = not is_active(record)
    for person in record.people[:_SHOWN_PEOPLE]:
        number = str(person.id)
        cell = grid.column(align=True)
        if picture := thumbnails.picture(record, person.picture):
            cell.template_icon(icon_value=picture.icon_id, scale=4.0)
        button = cell.operator(
            "wham.import_person",
            text=translate(f"Person {number}, {person.first_frame} - {person.last_frame}"),
            depress=person.id in there,
        )
        button.job, button.person = record.name, number
    if (more := len(record.people) - _SHOWN_PEOPLE) > 0:
        layout.label(text=translate(f"and {more} more"))
    if len(record.people) > 1:
        everybody = {person.id for person in record.people} <= set(there)
        button = layout.operator("wham.import_person", text="All People", depress=everybody)
        button.job, button.person = record.name, "ALL"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e5 else "under 0.1 MB"


def register() -> None:
    """Update the list of jobs."""
    if not bpy.app.background:
        jobs.refresh()


def unregister() -> None:
    """Clear the list of jobs."""
    jobs.all = []
