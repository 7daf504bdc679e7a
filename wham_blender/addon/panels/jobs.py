"""The panel of jobs: which run, wait, ended or were interrupted, and the people found in their clips."""

from __future__ import annotations

from pathlib import Path

import bpy
import bpy.utils.previews

from ..jobs import job_record
from ..jobs.import_job import blocked, is_active, is_interrupted, jobs, works
from ..jobs.job_record import JobRecord, Status
from ..jobs.queue import runner
from ..ui.ui_text import draw_sentence

_MOST = 8  # jobs shown; the newest
_ICONS = {
    Status.QUEUED: "TIME",
    Status.RUNNING: "PLAY",
    Status.CANCELLED: "CANCEL",
    Status.FAILED: "ERROR",
    Status.DONE: "IMPORT",
    Status.IMPORTED: "CHECKMARK",
}
_pictures: bpy.utils.previews.ImagePreviewCollection | None = None


class WHAM_PT_jobs(bpy.types.Panel):
    """The jobs of this Blender and of earlier ones."""

    bl_label = "Jobs"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "WHAM"
    bl_order = 1

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        """Draw what concerns all jobs."""
        row = self.layout.row(align=True)
        row.operator("wham.refresh_jobs", text="", icon="FILE_REFRESH", emboss=False)
        row.operator("wham.clean_jobs", text="", icon="TRASH", emboss=False)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a box for each job, the newest first."""
        layout = self.layout
        if not jobs.all:
            layout.label(text="Clips that you import are listed here")
        for record in jobs.all[:_MOST]:
            draw_job(layout.box(), record)
        if jobs.all:
            row = layout.row()
            row.active = False
            row.label(text=f"{_bytes(sum(jobs.sizes.values()))}; kept for {job_record.KEPT_DAYS} days")


def draw_job(layout: bpy.types.UILayout, record: JobRecord) -> None:
    """One job: how it stands and what can be done about it."""
    interrupted = is_interrupted(record)
    elsewhere = record.name in jobs.elsewhere
    head = layout.row(align=True)
    head.label(text=Path(record.clip).name, icon="PAUSE" if interrupted else _ICONS[record.status])
    if record.status is not Status.FAILED and record.log.is_file():  # a failed one has it beside its sentence
        head.operator("wm.path_open", text="", icon="TEXT", emboss=False).filepath = str(record.log)
    if not is_active(record) and not elsewhere:
        head.operator("wham.discard_job", text="", icon="X", emboss=False).job = record.name
    if runner.running is not None and getattr(runner.running, "record", None) is record:
        draw_sentence(layout, _stands(record, "running"), icon="BLANK1", dim=True)
    elif elsewhere:
        draw_sentence(layout, _stands(record, "runs in another Blender"), icon="BLANK1", dim=True)
    elif record.status is Status.QUEUED and not interrupted:
        row = layout.row(align=True)
        row.label(text="waits for its turn", icon="BLANK1")
        row.operator("wham.cancel", text="", icon="CANCEL").job = record.name
    elif interrupted:
        draw_sentence(layout, _stands(record, "interrupted when Blender closed"), icon="BLANK1", dim=True)
        layout.operator("wham.resume_job", icon="PLAY").job = record.name
    else:
        _draw_ended(layout, record)
    for warning in record.warnings:
        draw_sentence(layout, warning)
    if record.people:
        _draw_people(layout, record)


def _stands(record: JobRecord, how: str) -> str:
    """How a job stands, with its frames where not all of the clip were asked for."""
    start, end = record.options.get("clip_start", 1), record.options.get("clip_end", 0)
    return f"{how}, frames {start}-{end or 'end'}" if start > 1 or end else how


def _draw_ended(layout: bpy.types.UILayout, record: JobRecord) -> None:
    name = record.name
    if record.status is Status.FAILED:
        draw_sentence(layout, record.error, icon="ERROR")
        row = layout.row(align=True)
        row.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = str(record.log)
        row.operator("wham.copy_report", icon="COPYDOWN").job = name
        row.operator("wham.explain", text="", icon="QUESTION").sentence = record.error
    elif record.status is Status.DONE:
        waits = any(work.record is record for work in works())
        windows = bpy.context.window_manager.windows
        why = blocked(bpy.context.window or windows[0]) if waits and windows else ""
        draw_sentence(layout, _stands(record, why or "ready to import"), icon="BLANK1", dim=True)
        layout.operator("wham.import_job", icon="IMPORT").job = name
    else:
        how = _stands(record, f"{record.status.value}, {_bytes(jobs.sizes.get(name, 0))}")
        draw_sentence(layout, how, icon="BLANK1", dim=True)
    if record.status in {Status.FAILED, Status.CANCELLED}:
        text = "Try Again" if record.status is Status.FAILED else "Resume"
        layout.operator("wham.resume_job", text=text, icon="FILE_REFRESH").job = name


def _draw_people(layout: bpy.types.UILayout, record: JobRecord) -> None:
    """The people found in the clip; a click imports one."""
    grid = layout.grid_flow(row_major=True, columns=2 if len(record.people) > 1 else 1, even_columns=True, align=True)
    grid.enabled = not is_active(record)
    for person in record.people:
        number = str(person.get("id", ""))
        cell = grid.column(align=True)
        if picture := _picture(record, str(person.get("picture") or "")):
            cell.template_icon(icon_value=picture.icon_id, scale=4.0)
        chosen = cell.operator(
            "wham.import_person",
            text=f"Person {number}, {person.get('first_frame')} - {person.get('last_frame')}",
            depress=record.person in (number, "ALL"),
        )
        chosen.job, chosen.person = record.name, number
    if len(record.people) > 1:
        chosen = layout.operator("wham.import_person", text="All People", depress=record.person == "ALL")
        chosen.job, chosen.person = record.name, "ALL"


def _picture(record: JobRecord, file: str) -> bpy.types.ImagePreview | None:
    """A picture in a job's folder; None where there is none."""
    path = record.folder / file
    if _pictures is None or not file or Path(file).name != file or not path.is_file():
        return None
    return _pictures.get(str(path)) or _pictures.load(str(path), str(path), "IMAGE")


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e5 else "under 0.1 MB"


def register() -> None:
    """Make room for the pictures of people, and look which jobs there are."""
    global _pictures
    _pictures = bpy.utils.previews.new()
    if not bpy.app.background:
        jobs.refresh()


def unregister() -> None:
    """Let go of the pictures and of what is known of jobs."""
    global _pictures
    if _pictures is not None:
        bpy.utils.previews.remove(_pictures)
        _pictures = None
    jobs.all = []
