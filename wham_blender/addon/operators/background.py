"""Operators that run a worker process: in the background from a window, blocking from a script."""

import time
from collections.abc import Callable
from typing import ClassVar

import bpy

from ... import protocol
from ..job import Job, JobError
from ..runtime import RuntimeProblem

_TICK = 0.1  # seconds between two looks at the process


class WhenIdle:
    """Base of operators that are refused while a job runs: there is one at a time."""

    running: ClassVar[Job | None] = None
    poll_message_set: ClassVar[Callable[[str], None]]  # Blender's

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse while a job runs, and say so."""
        if WhenIdle.running:
            cls.poll_message_set("A job is running: cancel it or wait for its end")
            return False
        return True


class JobOperator(WhenIdle):
    """Base of operators that start a Job and do something with its result."""

    report: Callable[[set[str], str], None]  # Blender's, like the next
    options: bpy.types.OperatorOptions
    _timer: bpy.types.Timer | None = None

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process; may raise JobError or RuntimeProblem."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Use what the job made at a path; returns the operator's status."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; wait for it where there is no window or a script called."""
        state = context.window_manager.wham_job
        state.error, state.text, state.fraction, state.cancel = "", "starting", 0.0, False
        try:
            WhenIdle.running = self.start(context)
        except (JobError, RuntimeProblem) as problem:
            return self._fail(context, str(problem))
        state.running = True
        if self.options.is_invoke and not bpy.app.background:
            self._timer = context.window_manager.event_timer_add(_TICK, window=context.window)
            context.window_manager.modal_handler_add(self)
            return {"RUNNING_MODAL"}
        try:
            while (status := self.tick(context)) == {"PASS_THROUGH"}:
                time.sleep(_TICK)
        except BaseException:  # Ctrl-C in a script: the worker must not outlive it
            self.cancel(context)
            raise
        return status

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look at the job a few times a second and leave every other event to Blender."""
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        status = self.tick(context)
        for window in context.window_manager.windows:
            for area in window.screen.areas:
                if area.type in {"VIEW_3D", "PREFERENCES"}:
                    area.tag_redraw()
        return status

    def cancel(self, context: bpy.types.Context) -> None:
        """End the job: Blender calls this when the window or the file is closed."""
        if WhenIdle.running:
            WhenIdle.running.stop()
        self._end(context)

    def tick(self, context: bpy.types.Context) -> set[str]:
        """Take in what the worker said; PASS_THROUGH until the job has ended."""
        state, job = context.window_manager.wham_job, WhenIdle.running
        if job is None:  # the add-on was disabled meanwhile
            return {"CANCELLED"}
        if state.cancel:
            job.cancel()
            state.text = "cancelling"
        for message in job.poll():
            if isinstance(message, protocol.Warn):
                self.report({"WARNING"}, message.text)
            elif isinstance(message, protocol.Progress) and not job.cancelled:
                state.text, state.fraction = _progress_line(message), message.fraction
        if job.result is None:
            return {"PASS_THROUGH"}
        self._end(context)
        if job.cancelled:
            self.report({"INFO"}, "Cancelled")
            return {"CANCELLED"}
        if isinstance(job.result, protocol.Failed):
            return self._fail(context, job.result.text)
        return self.finish(context, job.result.path)

    def _end(self, context: bpy.types.Context) -> None:
        WhenIdle.running = None
        context.window_manager.wham_job.running = False
        if self._timer:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None

    def _fail(self, context: bpy.types.Context, sentence: str) -> set[str]:
        context.window_manager.wham_job.error = sentence
        self.report({"ERROR"}, sentence)
        return {"CANCELLED"}


class WHAM_OT_cancel(bpy.types.Operator):
    """Cancel the running job; what is done already is kept for the next run."""

    bl_idname = "wham.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Offer it only while a job runs."""
        return context.window_manager.wham_job.running

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Leave word for the running operator."""
        context.window_manager.wham_job.cancel = True
        return {"FINISHED"}


def stop_all() -> None:
    """End the running job, if any, without its operator."""
    if WhenIdle.running:
        WhenIdle.running.stop()
        WhenIdle.running = None


def _progress_line(progress: protocol.Progress) -> str:
    line = f"{progress.stage} {progress.done} of {progress.total}"
    if progress.seconds_left is None:
        return line
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{line}, {minutes}:{seconds:02} left"
