"""Draws the weight files of Full quality in the preferences, and in the panel which of them are missing."""

from pathlib import Path

import bpy

from ... import weights
from ...weights.library import BODIES, NEEDED
from ..settings import lacks_full_packages, library
from ..translations import translate
from ..worker import python_environment
from .ui_text import draw_sentence


def draw_weights(layout: bpy.types.UILayout) -> None:
    """Draw each weight file: whether it is there, its license, and the buttons to get it."""
    try:
        entries, missing = weights.published(), library().missing()
    except weights.WeightsError as error:
        layout.label(text=translate(str(error)), icon="ERROR")
        return
    state = f"Full Quality: {len(missing)} files are missing" if missing else "Full Quality: all files are there"
    layout.label(text=translate(state))
    draw_sentence(layout, "Draft and Fast quality need none of these files.", icon="NONE", dim=True)
    if lacks_full_packages() and len(missing) < len(NEEDED):
        text = f"Install Packages for Full Quality ({python_environment.full_download()} MB)"
        layout.operator("wham.install_worker", text=translate(text), icon="IMPORT").full = True
    layout.operator("wham.find_weights", text="Search Folder for Files", icon="FILE_FOLDER")
    for entry in entries:
        layout.separator(type="LINE")
        _draw_file(layout.column(align=True), entry, library().path(entry.role))
    draw_sentence(layout, f"Downloads go to {library().folder}", icon="NONE", dim=True)


def _draw_file(column: bpy.types.UILayout, entry: weights.Published, path: Path | None) -> None:
    column.label(text=f"{translate(entry.title)}: {translate(entry.does)}", icon="CHECKMARK" if path else "BLANK1")
    terms = f"{entry.name}, {entry.licence}. {entry.allows} {entry.agree}"
    draw_sentence(column, str(path) if path else terms, icon="BLANK1", dim=True)
    row = column.row(align=True)
    row.operator("wm.url_open", text="Open Page", icon="URL").url = entry.page
    row.operator("wham.choose_weights", icon="FILEBROWSER").role = entry.role
    if path:
        row.operator("wham.forget_weights", text="", icon="X").role = entry.role
    elif entry.account:
        row.operator("wham.sign_in_to_download", icon="IMPORT").role = entry.role
    else:
        text = f"Download ({entry.size / 1e9:.1f} GB)" if entry.size else "Download"
        row.operator("wham.download_weights", text=translate(text), icon="IMPORT").role = entry.role


def draw_quality(layout: bpy.types.UILayout, quality: str) -> None:
    """Draw below the option Quality which files of Full quality are there, and which are missing."""
    if quality in ("FAST", "DRAFT"):
        return
    try:
        missing = library().missing()
        available = [entry.title for entry in weights.published() if entry.role in NEEDED and entry not in missing]
    except weights.WeightsError as error:
        layout.label(text=translate(str(error)), icon="ERROR")
        return
    if missing:
        if available:
            draw_sentence(layout, f"Files of Full quality: {', '.join(available)}", icon="CHECKMARK")
        draw_sentence(layout, f"Missing for Full quality: {', '.join(entry.title for entry in missing)}")
    elif lacks_full_packages():
        draw_sentence(layout, "Full quality needs more packages: see the preferences", icon="ERROR")
    elif quality == "AUTO":
        draw_sentence(layout, "Full quality if an NVIDIA graphics card is found")


def draw_gender(layout: bpy.types.UILayout, gender: str, quality: str) -> None:
    """Draw below the option Body that SMPL's file of the gender is missing."""
    role = BODIES[gender.lower()]
    if gender == "NEUTRAL" or quality in ("FAST", "DRAFT") or library().path(role):
        return
    try:
        draw_sentence(layout, f"The file of {weights.published_for(role).title} is missing: see the preferences")
    except weights.WeightsError as error:
        layout.label(text=translate(str(error)), icon="ERROR")
