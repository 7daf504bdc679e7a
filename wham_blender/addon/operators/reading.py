"""Base class of operators that import a motion file: in a window a thread reads it, and Blender goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import bpy

from ..scene.reading import Reading
from ..translations import report, translate
from .background import from_window

_TICK = 0.02  # seconds between two looks at the thread


class ReadingOperator:
    """Calls a function when a file was read; Escape cancels. A script waits for the file."""

    options: bpy.types.OperatorOptions
    report: Callable[[set[str], str], None]  # of bpy.types.Operator, like the one above

    _reading: Reading
    _then: Callable[[bpy.types.Context], set[str]]
    _timer: bpy.types.Timer | None = None

    def when_read(
        self, context: bpy.types.Context, reading: Reading, then: Callable[[bpy.types.Context], set[str]]
    ) -> set[str]:
        """Have ``then`` called with the context when a reading is done; returns the operator's status."""
        if reading.done or not from_window(self) or self.options.is_repeat or context.window is None:
            return then(context)
        self._reading, self._then = reading, then
        manager = context.window_manager
        self._timer = manager.event_timer_add(_TICK, window=context.window)
        manager.modal_handler_add(self)
        context.workspace.status_text_set(translate("Reading the motion. Esc: cancel"))
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Wait for the thread. Other events wait, too: what is built must fit to the scene that the user sees."""
        if event.type == "ESC" and event.value == "PRESS":
            self.cancel(context)
            report(self, {"INFO"}, "The import was cancelled.")
            return {"CANCELLED"}
        if event.type != "TIMER" or not self._reading.done:
            return {"RUNNING_MODAL"}
        self.cancel(context)
        return self._then(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Stop waiting; the thread's result is dropped."""
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            context.workspace.status_text_set(None)
            self._timer = None
