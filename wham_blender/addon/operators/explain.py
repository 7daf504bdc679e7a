"""Explain: what the documents say of a message, beside it."""

import textwrap

import bpy
from bpy.props import StringProperty

from ..ui.explanations import explain

_LETTERS = 64  # in a line of the popup
_WIDTH = 420  # of the popup, in Blender's units


class WHAM_OT_explain(bpy.types.Operator):
    """Say more about this message: where it comes from, and what to do."""

    bl_idname = "wham.explain"
    bl_label = "What Now?"

    sentence: StringProperty(name="Message", description="The message that is to be explained", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show it at the mouse."""
        return context.window_manager.invoke_popup(self, width=_WIDTH)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the message and what is known of it."""
        column = self.layout.column(align=True)
        for number, line in enumerate(textwrap.wrap(self.sentence, _LETTERS)):
            column.label(text=line, icon="BLANK1" if number else "ERROR")
        column.separator()
        for line in textwrap.wrap(_told(self.sentence), _LETTERS):
            column.label(text=line, icon="BLANK1")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Say it in the status bar, or in the console of a script."""
        self.report({"INFO"}, _told(self.sentence))
        return {"FINISHED"}


def _told(sentence: str) -> str:
    return explain(sentence) or "No more is known of this message: the log may tell, and Copy Report asks for help"
