"""Base classes of operators that run a background process; a script that calls one waits for the process to end."""

from collections.abc import Callable
from typing import Any, ClassVar

import bpy
from bpy.props import StringProperty

from ... import protocol
from ...errors import CodedError
from ..jobs.import_job import ImportWork
from ..jobs.queue import Work, job_queue
from ..translations import report, translate
from ..worker.process import Job


def from_window(operator: bpy.types.Operator) -> bool:
    """Whether the user called the operator in a window, so that it must not block; a script waits for the result."""
    return operator.options.is_invoke and not bpy.app.background


def queued(operator: bpy.types.Operator, work: Work) -> bool:
    """Queue the work of an operator that was called in a window, and return True; else run it, which blocks.

    The warnings of an import that was run are reported.
    """
    if from_window(operator):
        job_queue.add(work)
        return True
    job_queue.run_to_end(work)
    for warning in work.record.warnings if isinstance(work, ImportWork) else []:
        report(operator, {"WARNING"}, warning)
    return False


def error_message(error: RuntimeError) -> str:
    """The error that an operator reported which was called from another one."""
    return str(error).removeprefix("Error: ").strip()


def copy_to_clipboard(operator: bpy.types.Operator, text: str) -> None:
    """Copy a text for whoever helps to the clipboard; in background mode, which has none, print it."""
    if bpy.app.background:
        print(text)
        return
    bpy.context.window_manager.clipboard = text
    report(operator, {"INFO"}, "Copied to the clipboard: paste it where you ask for help")


class WhenIdle:
    """Base of operators that are disabled while a process runs or waits."""

    poll_message_set: ClassVar[Callable[[str], None]]  # of bpy.types.Operator
    recalling = False  # an operator gets the result of its own process, whatever else waits

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require that no job runs or waits."""
        if job_queue.busy and not WhenIdle.recalling:
            cls.poll_message_set(translate("A job is running: cancel it or wait until it has ended"))
            return False
        return True


class JobOperator(WhenIdle):
    """Base of operators that start a Job and use its result.

    In a window the operator returns at once, and is called again with the result when the process has ended.
    """

    bl_idname: ClassVar[str]
    bl_label: ClassVar[str]
    report: Callable[[set[str], str], None]  # of bpy.types.Operator, like the next two
    options: bpy.types.OperatorOptions
    as_keywords: Callable[..., dict[str, Any]]

    result: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process; raises CodedError if it cannot be started."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Use the result that the process wrote to a path; returns the operator's status."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the process; without a window or from a script, wait until it has ended."""
        if self.result:
            return self.finish(context, self.result)
        try:
            job = self.start(context)
        except CodedError as problem:
            report(self, {"ERROR"}, str(problem))
            return {"CANCELLED"}
        work = _OperatorWork(self, job, recall=from_window(self))
        if queued(self, work):
            return {"FINISHED"}
        if isinstance(work.result, protocol.Done):
            return self.finish(context, work.result.path)
        report(self, {"ERROR"}, job_queue.error)
        return {"CANCELLED"}


class _OperatorWork(Work):
    """The process of an operator, which is called again with the result if ``recall`` is true."""

    shows_output = False  # pip's lines say nothing to an animator; the log has them

    def __init__(self, operator: JobOperator, job: Job, recall: bool) -> None:
        self.title = type(operator).bl_label
        self.recall = recall
        self._operator, self._options = type(operator).bl_idname, operator.as_keywords(ignore=("result",))
        self._job = job

    def start(self) -> Job:
        return self._job

    def end(self) -> None:
        if isinstance(self.result, protocol.Failed):
            job_queue.error = "" if self.cancelled and self.recall else self.result.text
            job_queue.error_code = self.result.code
            job_queue.error_log = str(self._job.log)
        elif self.recall and self.result:
            verb = getattr(bpy.ops.wham, self._operator.partition(".")[2])
            WhenIdle.recalling = True
            try:
                verb("EXEC_DEFAULT", **self._options, result=self.result.path)
            except RuntimeError as error:  # Blender raises what the operator reports as an error
                job_queue.error, job_queue.error_code = error_message(error), ""
                job_queue.error_log = str(self._job.log)
            finally:
                WhenIdle.recalling = False


class WHAM_OT_cancel(bpy.types.Operator):
    """Cancel the running job. Finished stages are kept for the next run"""

    bl_idname = "wham.cancel"
    bl_label = "Cancel"

    job: StringProperty(
        name="Job", description="Name of the job's folder; empty for the running job", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require a job that runs or waits."""
        if not job_queue.busy:
            cls.poll_message_set(translate("No job runs or waits"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask its process to end, or remove it from the queue."""
        works = [job_queue.running, *job_queue.waiting]
        for work in works:
            if work is not None and self.job in ("", getattr(work, "name", None)):
                job_queue.cancel(work)
                return {"FINISHED"}
        report(self, {"ERROR"}, f"No job {self.job} runs or waits.")
        return {"CANCELLED"}
