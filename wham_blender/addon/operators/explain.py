"""Operator What Now?: shows what docs/troubleshooting.md says about an error message."""

import bpy
from bpy.props import StringProperty

from ..translations import language, report, translate
from ..ui.explanations import explain
from ..ui.ui_text import wrap_to_width

_MOST_BYTES = 2000  # of a message; the search for its entry takes time that grows faster than its length
_WIDTH = 420  # of the popup, in pixels at scale 1
_LINE = 19.0  # UI units of a line of text in it, beside the icon


class WHAM_OT_explain(bpy.types.Operator):
    """Show the cause of this message and what to do"""

    bl_idname = "wham.explain"
    bl_label = "What Now?"

    sentence: StringProperty(
        name="Message", description="Error message to explain", maxlen=_MOST_BYTES, options={"SKIP_SAVE"}
    )
    code: StringProperty(
        name="Code",
        description="Code of the error, by which the explanation is found; without one, it is found by the message",
        maxlen=_MOST_BYTES,
        options={"HIDDEN", "SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show the explanation in a popup at the mouse."""
        return context.window_manager.invoke_popup(self, width=_WIDTH)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the message and its explanation."""
        column = self.layout.column(align=True)
        for number, line in enumerate(wrap_to_width(translate(self.sentence), _LINE)):
            column.label(text=line, icon="BLANK1" if number else "ERROR")
        column.separator()
        for line in wrap_to_width(translate(_explanation(self.code, self.sentence)), _LINE):
            column.label(text=line, icon="BLANK1")
        if language():
            column.separator()
            column.label(text="Explanations are in English", icon="BLANK1")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Report the explanation in the status bar, or in a script's console."""
        report(self, {"INFO"}, _explanation(self.code, self.sentence))
        return {"FINISHED"}


def _explanation(code: str, sentence: str) -> str:
    return explain(code, sentence) or (
        "There is no entry for this message. See the log, or use Copy Report to ask for help"
    )
