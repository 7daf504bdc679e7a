"""Shows a rig in the pose that its edited map gives it at the present frame, without a key; all of it is put back.

The pose is solved anew when a bone of the map or the frame changes. It ends with an undo, when the file is saved or
another one is opened, when something is rendered, when the animation plays, and with a bake.
"""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from ...errors import CodedError
from ..scene import character
from . import bake, pose_backup, rig_map_state, rig_probe
from .bake_options import Options
from .rig_action import rotation_values
from .rig_animation import rotation_channel

_DELAY = 0.05  # seconds after a change until the pose is solved, so that several changes are solved once
_error: list[CodedError] = []  # why the map gives no pose; at most one
_options = [Options()]  # those of the bake that is previewed


def rig() -> bpy.types.Object | None:
    """The rig that is previewed, or None."""
    shown = rig_map_state.state().armature
    return shown if shown is not None and shown.type == "ARMATURE" and pose_backup.is_kept(shown) else None


def error() -> CodedError | None:
    """Why the previewed rig does not show the map; None if it does."""
    return _error[0] if _error and rig() is not None else None


def source(context: bpy.types.Context) -> bpy.types.Object | None:
    """The imported character whose pose is shown: the active one, a selected one, or the first of the scene."""
    things = [context.active_object, *context.selected_objects, *context.scene.objects]
    return next((thing for thing in things if character.is_character(thing)), None)


def enter(options: Options) -> None:
    """Show the rig of the edited map as a bake with these options would pose it, but for root motion and planted feet.

    Raises CodedError if the map gives no pose; then nothing has changed.
    """
    shown = rig_map_state.state().armature
    _options[0] = options
    bake.check_rig(shown)
    pose_backup.restore_all()
    pose_backup.keep(shown, bpy.context.scene.frame_current_final)
    refresh()
    if _error:
        failed = _error[0]
        leave()
        raise failed


def leave() -> None:
    """Give the previewed rig its own pose again; does nothing without a preview."""
    _error.clear()
    pose_backup.restore_all()


def refresh() -> None:
    """Solve the pose anew; the rig has its own one while the map gives none, and `error` says why."""
    shown = rig()
    if shown is None:
        return
    screen = bpy.context.screen
    if screen is not None and screen.is_animation_playing:
        leave()
        return
    _error.clear()
    pose_backup.put_back(shown)
    try:
        person = source(bpy.context)
        if person is None:
            leave()
            return
        rig_map = rig_map_state.from_rows()
        keys, held = bake.keys_at(person, shown, rig_map, bpy.context.scene.frame_current_final, _options[0])
        rig_probe.apply_settings(shown, rig_map)
        if shown.data.pose_position == "REST":
            shown.data.pose_position = "POSE"
        for path, (name, values) in held.items():
            setattr(shown.pose.bones[name], path.rpartition(".")[2], values)
        for name, location in keys.locations.items():
            shown.pose.bones[name].location = location[0]
        for name, rotation in keys.rotations.items():
            setattr(
                shown.pose.bones[name],
                rotation_channel(shown.pose.bones[name]),
                rotation_values(shown, name, rotation)[0],
            )
        shown.update_tag()
    except CodedError as failed:
        _error.append(failed)
    bpy.context.view_layer.update()


# --- when something else changes -------------------------------------------------------------------------------------


def changed() -> None:
    """Solve the pose soon: a bone of the map, or the frame, is another one."""
    if rig() is None:
        return
    if bpy.app.background:  # no timers run
        refresh()
    elif not bpy.app.timers.is_registered(refresh):
        bpy.app.timers.register(refresh, first_interval=_DELAY)


@persistent
def _on_frame(scene: bpy.types.Scene, *_: Any) -> None:
    if scene == bpy.context.scene:  # not a temporary one, in which something is measured
        changed()


@persistent
def _end(*_: Any) -> None:
    leave()


_ENDS = ("undo_post", "redo_post", "save_pre", "load_post", "render_init")


def register() -> None:
    """Follow changes of the map and the frame."""
    rig_map_state.on_change.append(changed)
    bpy.app.handlers.frame_change_post.append(_on_frame)
    for name in _ENDS:
        getattr(bpy.app.handlers, name).append(_end)


def unregister() -> None:
    """Leave the preview, and follow nothing any more."""
    leave()
    rig_map_state.on_change.remove(changed)
    bpy.app.handlers.frame_change_post.remove(_on_frame)
    for name in _ENDS:
        getattr(bpy.app.handlers, name).remove(_end)
    if bpy.app.timers.is_registered(refresh):
        bpy.app.timers.unregister(refresh)
