"""The menu of the option Device: automatic, the processor, and the graphics cards by name.

The worker found the cards when it was checked (pipeline/self_test.py); nothing is looked for while Blender draws. The
option itself is a text, so that files, presets and jobs keep a card that is not there any more.
"""

import bpy
from bpy.props import StringProperty

from ..settings import worker_path
from ..translations import CONTEXT, translate
from ..worker import python_environment

_FIXED = {"AUTO": "Auto", "CPU": "CPU", "CUDA": "NVIDIA GPU"}
_SOURCE = "wham_options"  # the context member that names the options which a menu sets


def choices() -> dict[str, str]:
    """The menu's labels by device: "cuda:1 NAME" for the cards that the last check found to work."""
    cards = python_environment.cards(worker_path())
    return _FIXED | {f"{card.device} {card.name}": f"{card.name} ({card.device})" for card in cards if not card.fault}


def label(device: str) -> str:
    """How the menu shows the device that is set; scripts may have typed "cpu", or "cuda:0" alone."""
    device = device.strip() or "AUTO"
    kind, _, name = device.partition(" ")
    for choice, text in choices().items():
        if device == choice or (not name and kind.lower() == choice.partition(" ")[0].lower()):
            return text
    cards = python_environment.cards(worker_path())
    unusable = any(device in (card.device, f"{card.device} {card.name}") for card in cards)
    state = "not usable" if unusable else "not found"
    return f"{device} ({translate(state)})"


def draw_device(layout: bpy.types.UILayout, source: bpy.types.bpy_struct) -> None:
    """Draw the menu for settings or an operator."""
    draw_menu(layout, source, "Device", WHAM_MT_device.__name__, label(source.device))


def draw_menu(layout: bpy.types.UILayout, source: bpy.types.bpy_struct, heading: str, menu: str, text: str) -> None:
    """Draw the menu of an option that is a text, for settings or an operator; it shows ``text``."""
    row = layout.row(heading=heading, heading_ctxt=CONTEXT)
    row.context_pointer_set(_SOURCE, getattr(source, "properties", source))
    row.menu(menu, text=text, text_ctxt=CONTEXT)


def options_of_menu(context: bpy.types.Context) -> bpy.types.bpy_struct:
    """The options that a menu of `draw_menu` was drawn for; from a script, the scene's settings."""
    return getattr(context, _SOURCE, None) or context.scene.wham


class WHAM_MT_device(bpy.types.Menu):
    """The choices of the option Device."""

    bl_label = "Device"
    bl_description = (
        "Processor on which the networks run; a graphics card is many times faster. Check Worker in the preferences "
        "looks for graphics cards"
    )

    def draw(self, context: bpy.types.Context) -> None:
        """List the choices."""
        for device, text in choices().items():
            self.layout.operator(WHAM_OT_choose_device.bl_idname, text=text).device = device


class WHAM_OT_choose_device(bpy.types.Operator):
    """Run the networks on this processor"""

    bl_idname = "wham.choose_device"
    bl_label = "Choose Device"
    bl_options = {"UNDO", "INTERNAL"}

    device: StringProperty(
        name="Device",
        description="AUTO for the best graphics card that is supported, CPU for none, CUDA to fail if there is none, "
        "or one card by number and name",
        default="AUTO",
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        """The tooltip of a choice."""
        tip = {
            "AUTO": "Use the best graphics card that is supported, or the CPU if there is none",
            "CPU": "Never use a graphics card, for example while it renders",
            "CUDA": "Use the best NVIDIA graphics card, and fail if there is none",
        }.get(properties.device, "Use this graphics card, and fail if it is not there")
        return translate(tip)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the option of what the menu was drawn for; of the scene's settings from a script."""
        options_of_menu(context).device = self.device
        return {"FINISHED"}
