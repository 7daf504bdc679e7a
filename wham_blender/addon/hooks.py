"""Functions of other add-ons and scripts that are called with every imported motion, as those in bpy.app.handlers.

A studio's add-on bakes onto its own rig here, renames, exports, or tells its production database.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

import bpy

AfterImport = Callable[[bpy.types.Context, list[bpy.types.Object]], None]
# Called in this order with the context and the new characters' armatures, in the undo step of the import. They stay
# until they are taken out, or the add-on is disabled.
after_import: list[AfterImport] = []


def call(operator: bpy.types.Operator, context: bpy.types.Context, armatures: list[bpy.types.Object]) -> None:
    """Call them all. What one of them does wrong is a warning, with its traceback in the console: the motion stays."""
    for hook in [*after_import]:
        try:
            hook(context, armatures)
        except Exception as error:
            traceback.print_exc()
            name = getattr(hook, "__name__", type(hook).__name__)
            operator.report(
                {"WARNING"},
                f"The motion is imported, but {name}, which is called after every import, failed: {error}. The console "
                "says where.",
            )


def unregister() -> None:
    """Forget them."""
    after_import.clear()
