"""Everything that Blender has to know, in one list."""

import bpy

from . import panels, preferences, properties
from .operators import background, import_motion, import_video, setup, weights

_CLASSES = (
    properties.WHAM_PG_settings,
    properties.WHAM_PG_job,
    preferences.WHAM_AP_preferences,
    background.WHAM_OT_cancel,
    import_motion.WHAM_OT_import_motion,
    import_video.WHAM_OT_import_video,
    setup.WHAM_OT_install_worker,
    setup.WHAM_OT_check_worker,
    setup.WHAM_OT_remove_worker,
    *weights.CLASSES,
    panels.WHAM_PT_import,
)


def register() -> None:
    """Register all classes, then the properties and menu entries that use them."""
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    properties.register()
    panels.register()


def unregister() -> None:
    """Stop what runs and undo register() in reverse."""
    background.stop_all()
    panels.unregister()
    properties.unregister()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
