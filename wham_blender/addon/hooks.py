"""Handlers of other add-ons and scripts that are called after every import, like those in bpy.app.handlers.

Use them to bake onto a studio's own rig, to rename, to export, or to update a production database.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

import bpy

from ..errors import reason

AfterImport = Callable[[bpy.types.Context, list[bpy.types.Object]], None]
# Called in this order with the context and the new characters' armatures, in the undo step of the import. A function
# stays in the list until it is removed or the add-on is disabled.
after_import: list[AfterImport] = []


def call(
    context: bpy.types.Context, armatures: list[bpy.types.Object], report: Callable[[set[str], str], None]
) -> None:
    """Call all functions in after_import.

    An exception in one of them is reported as a warning, with its traceback in the console; the import stays.
    """
    for hook in [*after_import]:
        try:
            hook(context, armatures)
        except Exception as error:
            traceback.print_exc()
            name = getattr(hook, "__name__", type(hook).__name__)
            report(
                {"WARNING"},
                f"The motion is imported, but {name}, which is called after every import, failed: {reason(error)}. The "
                "console says where.",
            )


def unregister() -> None:
    """Remove all handlers."""
    after_import.clear()
