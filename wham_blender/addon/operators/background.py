"""Operators that run a process: in the background from a window, blocking from a script."""

from collections.abc import Callable
from typing import Any, ClassVar

import bpy
from bpy.props import StringProperty

from ... import protocol
from ..jobs.queue import Work, runner
from ..worker.process import Job, JobError
from ..worker.python_environment import RuntimeProblem


def from_window(operator: bpy.types.Operator) -> bool:
    """Whether a user called the operator, so that Blender must stay usable; a script waits for the end."""
    return operator.options.is_invoke and not bpy.app.background


def sentence_of(error: RuntimeError) -> str:
    """What an operator that was called from another reported as its error."""
    return str(error).removeprefix("Error: ").strip()


def copy(operator: bpy.types.Operator, text: str, what: str) -> None:
    """Put a text on the clipboard; without a window there is none, and it is printed."""
    if bpy.app.background:
        print(text)
        return
    bpy.context.window_manager.clipboard = text
    operator.report({"INFO"}, f"{what} on the clipboard: paste it where you ask for help")


class WhenIdle:
    """Base of operators that are refused while a process runs or waits."""

    poll_message_set: ClassVar[Callable[[str], None]]  # Blender's

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse while something runs, and say so."""
        if runner.busy:
            cls.poll_message_set("A job is running: cancel it or wait for its end")
            return False
        return True


class JobOperator(WhenIdle):
    """Base of operators that start a Job and do something with its result.

    From a window the operator ends at once, and is called again with the result when it is there.
    """

    bl_idname: ClassVar[str]
    bl_label: ClassVar[str]
    report: Callable[[set[str], str], None]  # Blender's, like the next two
    options: bpy.types.OperatorOptions
    as_keywords: Callable[..., dict[str, Any]]

    result: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process; may raise JobError or RuntimeProblem."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Use what the job made at a path; returns the operator's status."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; wait for it where there is no window or a script called."""
        if self.result:
            return self.finish(context, self.result)
        try:
            job = self.start(context)
        except (JobError, RuntimeProblem) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        work = _OperatorWork(self, job, recall=from_window(self))
        if work.recall:
            runner.add(work)
            return {"FINISHED"}
        runner.run_to_end(work)
        if isinstance(work.result, protocol.Done):
            return self.finish(context, work.result.path)
        self.report({"ERROR"}, runner.error)
        return {"CANCELLED"}


class _OperatorWork(Work):
    """A process that an operator started and, where ``recall`` says so, is called again for."""

    def __init__(self, operator: JobOperator, job: Job, recall: bool) -> None:
        self.title = type(operator).bl_label
        self.recall = recall
        self._operator, self._options = type(operator).bl_idname, operator.as_keywords(ignore=("result",))
        self._job = job

    def start(self) -> Job:
        return self._job

    def end(self) -> None:
        if isinstance(self.result, protocol.Failed):
            runner.error = "" if self.cancelled and self.recall else self.result.text
            runner.error_log = str(self._job.log)
        elif self.recall and self.result:
            verb = getattr(bpy.ops.wham, self._operator.partition(".")[2])
            try:
                verb("EXEC_DEFAULT", **self._options, result=self.result.path)
            except RuntimeError as error:  # what the operator reports as an error
                runner.error = sentence_of(error)
                runner.error_log = str(self._job.log)


class WHAM_OT_cancel(bpy.types.Operator):
    """Cancel the running job; what is done already is kept for the next run."""

    bl_idname = "wham.cancel"
    bl_label = "Cancel"

    job: StringProperty(description="Name of the job's folder; empty for what runs", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Offer it only while a job runs or waits."""
        if not runner.busy:
            cls.poll_message_set("No job runs or waits")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask its process to end, or take it out of the queue."""
        works = [runner.running, *runner.waiting]
        for work in works:
            if work is not None and self.job in ("", getattr(work, "name", None)):
                runner.cancel(work)
                return {"FINISHED"}
        self.report({"ERROR"}, f"No job {self.job} runs or waits.")
        return {"CANCELLED"}
