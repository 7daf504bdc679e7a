"""The menu of the option Person: the main person, everybody, and the people found in the clip, with their pictures.

The option itself is a text, so that scripts, presets and jobs can name any number.
"""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..jobs.import_job import jobs
from ..jobs.job_record import JobRecord, person_number
from ..translations import translate
from . import thumbnails
from .device_menu import draw_menu, options_of_menu

_FIXED = {"MAIN": "Main Person", "ALL": "All People"}
_OFFERED = 6  # numbers of a clip that was not looked at yet: as many people as Draft and Fast quality find at a time
_SHOWN = 50  # people of one clip, the largest; scripts take the numbers of the others


def label(person: str) -> str:
    """How the menu shows the person that is set."""
    typed = person.strip().upper()
    return _FIXED.get(typed) or translate(f"Person {typed}" if person_number(typed) else f"{person} (no person)")


def draw_person(layout: bpy.types.UILayout, source: bpy.types.bpy_struct) -> None:
    """Draw the menu for settings or an operator."""
    draw_menu(layout, source, "Person", WHAM_MT_person.__name__, label(source.person))


def job_of(clip: str) -> JobRecord | None:
    """The newest job that found people in a clip."""
    path = str(Path(bpy.path.abspath(clip)).absolute()) if clip else ""
    return next((record for record in jobs.all if record.people and record.clip == path), None)


class WHAM_MT_person(bpy.types.Menu):
    """The choices of the option Person."""

    bl_label = "Person"
    bl_description = "Which people of the clip to import"

    def draw(self, context: bpy.types.Context) -> None:
        """List the choices; the numbers of people who were not found yet are offered, too."""
        for person, text in _FIXED.items():
            self.layout.operator(WHAM_OT_choose_person.bl_idname, text=text).person = person
        self.layout.separator()
        record = job_of(getattr(options_of_menu(context), "filepath", ""))
        people = record.people[:_SHOWN] if record else []
        pictures = {str(each.id): thumbnails.picture(record, each.picture) for each in people if record}
        for person in pictures or map(str, range(1, _OFFERED + 1)):
            picture = pictures.get(person)
            button = self.layout.operator(
                WHAM_OT_choose_person.bl_idname, text=label(person), icon_value=picture.icon_id if picture else 0
            )
            button.person = person


class WHAM_OT_choose_person(bpy.types.Operator):
    """Import this person of the clip"""

    bl_idname = "wham.choose_person"
    bl_label = "Choose Person"
    bl_options = {"UNDO", "INTERNAL"}

    person: StringProperty(
        name="Person", description="MAIN, ALL, or a number from 1, the largest first", default="MAIN"
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        """The tooltip of a choice."""
        tip = {
            "MAIN": "Import the person who is largest and longest in view",
            "ALL": "Import everybody into one world, but spectators",
        }.get(properties.person, "Import the person of this number: 1 is the largest")
        return translate(tip)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the option of what the menu was drawn for; of the scene's settings from a script."""
        options_of_menu(context).person = self.person
        return {"FINISHED"}
