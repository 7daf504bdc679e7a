"""Operators that run a worker process: in the background from a window, blocking from a script."""

import time
import traceback
from collections.abc import Callable
from typing import ClassVar

import bpy

from ... import protocol
from ...motion import MotionFileError
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
    needs_object_mode: ClassVar[bool] = False  # to finish: a user in another mode is waited for, not thrown out of it
    _timer: bpy.types.Timer | None = None

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process; may raise JobError or RuntimeProblem."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Use what the job made at a path; returns the operator's status. What it raises is shown as an error."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; wait for it where there is no window or a script called."""
        state = context.window_manager.wham_job
        state.error, state.log, state.people = "", "", ""
        state.text, state.fraction, state.cancel = "starting", 0.0, False
        try:
            WhenIdle.running = self.start(context)
        except (JobError, RuntimeProblem) as problem:
            return self._fail(context, str(problem))
        state.running, state.log = True, str(WhenIdle.running.log)
        if self.options.is_invoke and not bpy.app.background:
            self._timer = context.window_manager.event_timer_add(_TICK, window=context.window)
            context.window_manager.modal_handler_add(self)
            return {"RUNNING_MODAL"}
        try:
            while not self._listen(context):
                time.sleep(_TICK)
        except BaseException:  # Ctrl-C in a script: the worker must not outlive it
            self.cancel(context)
            raise
        return self._conclude(context)

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look at the job a few times a second and leave every other event to Blender."""
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        ended = self._listen(context)
        for window in context.window_manager.windows:
            for area in window.screen.areas:
                if area.type in {"VIEW_3D", "PREFERENCES"}:
                    area.tag_redraw()
        return self._conclude(context) if ended and not self._waits(context) else {"PASS_THROUGH"}

    def cancel(self, context: bpy.types.Context) -> None:
        """End the job: Blender calls this when the window or the file is closed."""
        if WhenIdle.running:
            WhenIdle.running.stop()
        self._end(context)

    def _listen(self, context: bpy.types.Context) -> bool:
        """Take in what the worker said; whether the job has ended."""
        job = WhenIdle.running
        if job is None:  # the add-on was disabled meanwhile
            return True
        state = context.window_manager.wham_job
        if state.cancel:
            job.cancel()
            state.text = "cancelling"
        for message in job.poll():
            if isinstance(message, protocol.Warn):
                self.report({"WARNING"}, message.text)
            elif isinstance(message, protocol.People):
                state.people = _people_line(message)
                self.report({"INFO"}, state.people)
            elif isinstance(message, protocol.Progress) and not job.cancelled:
                state.text, state.fraction = _progress_line(message), message.fraction
        return job.result is not None

    def _waits(self, context: bpy.types.Context) -> bool:
        """Whether the result has to wait until the user is back in Object Mode; the panel says so."""
        state, job = context.window_manager.wham_job, WhenIdle.running
        if context.mode == "OBJECT" or not self.needs_object_mode or state.cancel or job is None:
            return False
        if not isinstance(job.result, protocol.Done):
            return False
        state.text, state.fraction = "ready: go to Object Mode", 1.0
        return True

    def _conclude(self, context: bpy.types.Context) -> set[str]:
        """Use the result of the job that has ended, or say why there is none."""
        job = WhenIdle.running
        if job is None or job.result is None:
            return {"CANCELLED"}
        self._end(context)
        if context.window_manager.wham_job.cancel:
            self.report({"INFO"}, "Cancelled")
            return {"CANCELLED"}
        if isinstance(job.result, protocol.Failed):
            return self._fail(context, job.result.text)
        try:
            return self.finish(context, job.result.path)
        except (MotionFileError, RuntimeProblem) as problem:
            return self._fail(context, str(problem))
        except Exception as error:  # a fault of ours: the sentence for the panel, the traceback for the log
            with job.log.open("a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            return self._fail(context, f"The result could not be used: {reason}. The log says where it happened.")

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


def _people_line(found: protocol.People) -> str:
    people = [
        f"{person['id']} (frames {person['first_frame']} to {person['last_frame']}, "
        f"{person['height']:.0%} of the picture high)"
        for person in found.people
    ]
    return f"{len(people)} {'person' if len(people) == 1 else 'people'} found: {', '.join(people)}"


def _progress_line(progress: protocol.Progress) -> str:
    line = f"{progress.stage} {progress.done} of {progress.total}"
    if progress.seconds_left is None:
        return line
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{line}, {minutes}:{seconds:02} left"
