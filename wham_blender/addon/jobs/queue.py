"""Runs processes for the add-on, one at a time, the others in a queue; looked at by a timer or by whoever waits.

The timer outlives the files that are opened meanwhile, and nothing here hangs on an operator, a scene or a window.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import bpy

from ... import protocol
from ..worker.process import Job, JobError

_TICK = 0.1  # seconds between two looks
_SHOWN_IN = {("VIEW_3D", "UI"), ("PREFERENCES", "WINDOW")}  # the views themselves may be slow to draw


class Work:
    """One process and what is done with what it says. Everything is called in Blender's main thread."""

    title = ""
    result: protocol.Done | protocol.Failed | None = None  # once it has ended
    cancelled = False

    def start(self) -> Job:
        """Start the process when its turn has come; may raise JobError."""
        raise NotImplementedError

    def hear(self, messages: Sequence[protocol.Message]) -> None:
        """Take in what was said since the last tick, Progress left out."""

    def end(self) -> None:
        """The process has ended: ``result`` and ``cancelled`` say how."""

    def drop(self) -> None:
        """The work is forgotten, whether it has begun or not; its process has ended."""

    def after(self) -> bool:
        """Whether nothing is left to do; asked again every tick until then, where a timer runs."""
        return True


class Runner:
    """The queue. ``running`` is the work whose process runs, ``job`` that process."""

    def __init__(self) -> None:
        self.running: Work | None = None
        self.job: Job | None = None
        self.progress: protocol.Progress | None = None
        self.waiting: list[Work] = []
        self.closing: list[Work] = []  # ended, with something left to do
        self.files_opened = 0  # since the add-on was enabled
        self.error = ""  # why the last work that keeps no record of its own failed, until the next begins
        self.error_log = ""
        self._heard = 0  # messages, Progress left out
        self._shown: tuple[object, ...] = ()  # what the panels showed when they were drawn last

    @property
    def busy(self) -> bool:
        """Whether a process runs or waits."""
        return bool(self.running or self.waiting)

    def add(self, work: Work) -> None:
        """Put work at the end of the queue; a timer sees to it."""
        self.waiting.append(work)
        self.wake()

    def wake(self) -> None:
        """Have the timer run while there is something to do. Blender's background mode has none."""
        if not bpy.app.background and not bpy.app.timers.is_registered(self._on_timer):
            bpy.app.timers.register(self._on_timer, first_interval=_TICK, persistent=True)

    def run_to_end(self, work: Work) -> None:
        """Wait for work, which goes before all that waits. What interrupts the waiting ends the process."""
        self.waiting.insert(0, work)
        try:
            self._wait(work)
        except BaseException:  # Ctrl-C in a script
            self.cancel(work)
            self._wait(work)
            raise
        finally:
            self.closing.remove(work)  # who waited does the rest

    def _wait(self, work: Work) -> None:
        """Tick until the work has ended; each stage is a line in the console, so that a script's user sees it live."""
        stage = ""
        while work.result is None:
            self.tick()
            if self.progress is not None and self.progress.stage != stage:
                stage = self.progress.stage
                print(f"{work.title}: {stage}", flush=True)
            time.sleep(_TICK / 2)

    def tick(self) -> None:
        """Look at the process that runs, or start the next. Never waits, and takes a bounded time."""
        if self.running is None and self.waiting:
            self._start(self.waiting.pop(0))
        elif self.running is not None and self.job is not None:
            self._look(self.running, self.job)

    def cancel(self, work: Work) -> None:
        """Take work out of the queue, or ask its process to end: it is gone within a second."""
        if work is self.running and self.job is not None:
            work.cancelled = True
            self.job.cancel()
        elif work in self.waiting:
            self.waiting.remove(work)
            work.cancelled = True
            self._finish(work, protocol.Failed("The import was cancelled."))

    def stop(self) -> None:
        """End the running process and forget all work; what keeps records of it may offer it again."""
        if self.job is not None:
            self.job.stop()
        if bpy.app.timers.is_registered(self._on_timer):
            bpy.app.timers.unregister(self._on_timer)
        for work in [*self.waiting, *([self.running] if self.running else [])]:
            work.drop()
        self.running = self.job = self.progress = None
        self.waiting, self.closing, self.error = [], [], ""

    def _start(self, work: Work) -> None:
        self.error, self.progress = "", None
        try:
            self.job = work.start()
            self.running = work
        except JobError as problem:
            self._finish(work, protocol.Failed(str(problem)))

    def _look(self, work: Work, job: Job) -> None:
        messages = job.poll()
        for message in messages:
            if isinstance(message, protocol.Progress):
                self.progress = message
        said = [message for message in messages if not isinstance(message, protocol.Progress)]
        if said:
            self._heard += len(said)
            work.hear(said)
        if job.result is not None:
            self.running = self.job = self.progress = None
            self._finish(work, job.result)

    def _finish(self, work: Work, result: protocol.Done | protocol.Failed) -> None:
        work.result = result
        work.end()
        self.closing.append(work)

    def _on_timer(self) -> float | None:
        self.tick()
        self.closing = [work for work in self.closing if not work.after()]
        work, line = self.running, self.job.last_line if self.job else ""
        shown = (work, work and work.cancelled, self.progress, line, self._heard, len(self.waiting), len(self.closing))
        if shown != self._shown:
            self._shown = shown
            _redraw_panels()
        return _TICK if self.busy or self.closing else None


def _redraw_panels() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            for region in area.regions:
                if (area.type, region.type) in _SHOWN_IN:
                    region.tag_redraw()


runner = Runner()


@bpy.app.handlers.persistent
def _on_load(_path: str) -> None:
    runner.files_opened += 1


def register() -> None:
    """Notice when another file is opened."""
    bpy.app.handlers.load_post.append(_on_load)


def unregister() -> None:
    """End what runs and take the handler away."""
    runner.stop()
    bpy.app.handlers.load_post.remove(_on_load)
