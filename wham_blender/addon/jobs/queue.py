"""The job queue: runs the add-on's background processes one after the other, polled by a timer or by a script.

The timer goes on when another file is opened; nothing here depends on an operator, a scene or a window.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Sequence

import bpy

from ... import protocol
from ...errors import reason
from ..worker.process import Job, JobError, standby

_TICK = 0.1  # seconds between two polls; set by hand
_SHOWN_IN = {("VIEW_3D", "UI"), ("PREFERENCES", "WINDOW")}  # the views themselves may be slow to draw


class Work:
    """A process and what is done with its messages and result. All methods run in Blender's main thread."""

    title = ""
    shows_output = True  # in the panels: the process's last line that is no message
    result: protocol.Done | protocol.Failed | None = None  # once it has ended
    cancelled = False

    def start(self) -> Job:
        """Start the process; may raise JobError."""
        raise NotImplementedError

    def receive(self, messages: Sequence[protocol.Message]) -> None:
        """Handle the messages since the last tick, without Progress."""

    def end(self) -> None:
        """The process has ended, with ``result`` and ``cancelled``."""

    def abandon(self) -> None:
        """The queue is stopped, and the process has ended if it had begun."""

    def finish(self) -> bool:
        """Use the result; called at every tick after the end until it returns True."""
        return True


class JobQueue:
    """The queue. ``running`` is the work whose process runs, ``job`` that process."""

    def __init__(self) -> None:
        self.running: Work | None = None
        self.job: Job | None = None
        self.progress: protocol.Progress | None = None
        self.waiting: list[Work] = []
        self.finishing: list[Work] = []  # ended, but ``finish`` has not returned True yet
        self.files_opened = 0  # since the add-on was enabled
        self.error = ""  # why the last operator's process failed, until the next begins; clips have job records
        self.error_code = ""  # of that error, see errors.CodedError
        self.error_log = ""
        self._message_count = 0  # without Progress
        self._shown: tuple[object, ...] = ()  # state for which the panels were drawn last

    @property
    def busy(self) -> bool:
        """Whether a process runs or waits."""
        return bool(self.running or self.waiting)

    def add(self, work: Work) -> None:
        """Put work at the end of the queue, which the timer runs."""
        self.waiting.append(work)
        self.start_timer()

    def start_timer(self) -> None:
        """Have the timer run while there is something to do. Blender's background mode has no timers."""
        if not bpy.app.background and not bpy.app.timers.is_registered(self._on_timer):
            bpy.app.timers.register(self._on_timer, first_interval=_TICK, persistent=True)

    def run_to_end(self, work: Work) -> None:
        """Run work before all that waits, and wait for its end. An exception while waiting ends the process."""
        self.waiting.insert(0, work)
        try:
            self._wait(work)
        except BaseException:  # Ctrl-C in a script
            self.cancel(work)
            self._wait(work)
            raise
        finally:
            self.finishing.remove(work)  # the caller uses the result

    def _wait(self, work: Work) -> None:
        """Tick until the work has ended; prints each stage, so that the user of a script sees the progress."""
        stage = ""
        while work.result is None:
            self.tick()
            if self.progress is not None and self.progress.stage != stage:
                stage = self.progress.stage
                print(f"{work.title}: {stage}", flush=True)
            time.sleep(_TICK / 2)

    def tick(self) -> None:
        """Poll the process that runs, or start the next. Never waits, and takes a bounded time."""
        if self.running is None and self.waiting:
            self._start(self.waiting.pop(0))
        elif self.running is not None and self.job is not None:
            self._poll(self.running, self.job)

    def cancel(self, work: Work) -> None:
        """Take work out of the queue, or ask its process to end, which takes a second at most."""
        if work is self.running and self.job is not None:
            work.cancelled = True
            self.job.cancel()
        elif work in self.waiting:
            self.waiting.remove(work)
            work.cancelled = True
            self._finish(work, protocol.Failed("The import was cancelled.", code="cancelled"))

    def stop(self) -> None:
        """End the running process and empty the queue; imports can be resumed from their job records."""
        if self.job is not None:
            self.job.stop()
        standby.stop()
        if bpy.app.timers.is_registered(self._on_timer):
            bpy.app.timers.unregister(self._on_timer)
        for work in [*self.waiting, *([self.running] if self.running else [])]:
            work.abandon()
        self.running = self.job = self.progress = None
        self.waiting, self.finishing, self.error, self.error_code = [], [], "", ""

    def _start(self, work: Work) -> None:
        self.error, self.error_code, self.progress = "", "", None
        try:
            self.job = work.start()
            self.running = work
        except JobError as problem:
            self._finish(work, protocol.Failed(str(problem), problem.code))
        except Exception as error:
            self._finish(work, _unexpected(work, error))

    def _poll(self, work: Work, job: Job) -> None:
        try:
            self._receive(work, job)
            result = job.result
        except Exception as error:
            result = _unexpected(work, error)
            with contextlib.suppress(Exception):
                job.stop()
        if result is not None:
            self.running = self.job = self.progress = None
            self._finish(work, result)

    def _receive(self, work: Work, job: Job) -> None:
        messages = job.poll()
        for message in messages:
            if isinstance(message, protocol.Progress):
                self.progress = message
        others = [message for message in messages if not isinstance(message, protocol.Progress)]
        if others:
            self._message_count += len(others)
            work.receive(others)

    def _finish(self, work: Work, result: protocol.Done | protocol.Failed) -> None:
        work.result = result
        self.finishing.append(work)
        try:
            work.end()
        except Exception as error:
            self._fail(work, _unexpected(work, error))
            with contextlib.suppress(Exception):
                work.abandon()

    def _fail(self, work: Work, failed: protocol.Failed) -> None:
        work.result = failed
        self.error, self.error_code, self.error_log = failed.text, failed.code, ""

    def _is_finished(self, work: Work) -> bool:
        try:
            return work.finish()
        except Exception as error:
            self._fail(work, _unexpected(work, error))
            return True

    def _on_timer(self) -> float | None:
        self.tick()
        self.finishing = [work for work in self.finishing if not self._is_finished(work)]
        work, line = self.running, self.job.last_line if self.job else ""
        shown = (
            work,
            work and work.cancelled,
            self.progress,
            line,
            self._message_count,
            len(self.waiting),
            len(self.finishing),
        )
        if shown != self._shown:
            self._shown = shown
            redraw_panels()
        return _TICK if self.busy or self.finishing else None


def _unexpected(work: Work, error: Exception) -> protocol.Failed:
    """The result of work in which the add-on itself failed: without one, the queue would be busy for ever."""
    traceback.print_exc()
    text = f"{work.title} was stopped by a fault of the add-on: {reason(error)}. Blender's console shows where."
    return protocol.Failed(text, code="unexpected")


def redraw_panels() -> None:
    """Draw the add-on's panels again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            for region in area.regions:
                if (area.type, region.type) in _SHOWN_IN:
                    region.tag_redraw()


job_queue = JobQueue()


@bpy.app.handlers.persistent
def _on_load(_path: str) -> None:
    job_queue.files_opened += 1


def register() -> None:
    """Count the files that are opened."""
    bpy.app.handlers.load_post.append(_on_load)


def unregister() -> None:
    """Stop the queue and remove the handler."""
    job_queue.stop()
    bpy.app.handlers.load_post.remove(_on_load)
