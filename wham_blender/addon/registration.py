"""Registers the add-on's classes, properties and handlers with Blender, and unregisters them."""

import bpy

from . import hooks, properties, translations
from .jobs import farm, queue
from .operators import (
    background,
    bake,
    correct_frames,
    drop_clips,
    explain,
    export_motion,
    import_folder,
    import_motion,
    import_video,
    jobs,
    mark_asset,
    mark_contacts,
    next_doubt,
    pin_pose,
    place_motion,
    plant_feet,
    process_again,
    reduce_keys,
    rig_maps,
    setup,
    smooth_motion,
    submit_to_farm,
    time_motion,
    view_clip,
    weights,
)
from .panels import bake as bake_panel
from .panels import correct, import_clip, preferences, result, rig_map
from .panels import farm as farm_panel
from .panels import jobs as job_panel
from .retarget import pose_backup, rig_map_state, rig_preview
from .ui import contact_overlay, device_menu, person_menu, presets, thumbnails, timeline_bars

_CLASSES = (
    properties.WHAM_PG_settings,
    properties.WHAM_PG_motion,
    rig_map_state.WHAM_PG_rig_bone,
    rig_map_state.WHAM_PG_rig_map,
    preferences.WHAM_AP_preferences,
    background.WHAM_OT_cancel,
    import_motion.WHAM_OT_import_motion,
    import_video.WHAM_OT_import_video,
    submit_to_farm.WHAM_OT_submit_to_farm,
    jobs.WHAM_OT_import_job,
    jobs.WHAM_OT_resume_job,
    jobs.WHAM_OT_import_person,
    jobs.WHAM_OT_copy_report,
    jobs.WHAM_OT_discard_job,
    jobs.WHAM_OT_clean_jobs,
    jobs.WHAM_OT_refresh_jobs,
    explain.WHAM_OT_explain,
    drop_clips.WHAM_OT_drop_clips,
    import_folder.WHAM_OT_import_folder,
    drop_clips.WHAM_FH_clips,
    drop_clips.WHAM_FH_pictures,
    drop_clips.WHAM_FH_motion,
    next_doubt.WHAM_OT_next_doubt,
    mark_contacts.WHAM_OT_mark_contacts,
    plant_feet.WHAM_OT_plant_again,
    smooth_motion.WHAM_OT_smooth_motion,
    place_motion.WHAM_OT_turn_motion,
    place_motion.WHAM_OT_move_motion,
    place_motion.WHAM_OT_set_actor_height,
    place_motion.WHAM_OT_set_floor,
    correct_frames.WHAM_OT_distrust_frames,
    correct_frames.WHAM_OT_swap_sides,
    pin_pose.WHAM_OT_pin_pose,
    *process_again.CLASSES,
    time_motion.WHAM_OT_trim_motion,
    time_motion.WHAM_OT_trim_to_motion,
    time_motion.WHAM_OT_loop_motion,
    reduce_keys.WHAM_OT_reduce_keys,
    mark_asset.WHAM_OT_mark_asset,
    time_motion.WHAM_OT_match_scene,
    time_motion.WHAM_OT_measure_motion,
    setup.WHAM_OT_install_worker,
    setup.WHAM_OT_check_worker,
    setup.WHAM_OT_repair_worker,
    setup.WHAM_OT_remove_worker,
    setup.WHAM_OT_move_worker,
    setup.WHAM_OT_measure_storage,
    setup.WHAM_OT_copy_worker_report,
    view_clip.WHAM_OT_view_clip_camera,
    view_clip.WHAM_OT_view_side_by_side,
    *weights.CLASSES,
    *rig_maps.CLASSES,
    bake.WHAM_OT_bake_to_rig,
    export_motion.WHAM_OT_export_motion,
    device_menu.WHAM_OT_choose_device,
    device_menu.WHAM_MT_device,
    person_menu.WHAM_OT_choose_person,
    person_menu.WHAM_MT_person,
    presets.WHAM_OT_add_import_preset,
    presets.WHAM_PT_import_presets,
    import_clip.WHAM_PT_import,
    farm_panel.WHAM_PT_farm,
    result.WHAM_PT_result,
    result.WHAM_PT_result_people,
    result.WHAM_PT_result_details,
    job_panel.WHAM_PT_jobs,
    job_panel.WHAM_PT_earlier_jobs,
    result.WHAM_PT_edit,
    correct.WHAM_PT_correct,
    bake_panel.WHAM_PT_bake,
    rig_map.WHAM_PT_rig_map,
)


def register() -> None:
    """Register all classes, then the properties and menu entries that use them."""
    translations.register()
    for cls in _CLASSES:
        with translations.in_context(cls):
            bpy.utils.register_class(cls)
    process_again.register()
    properties.register()
    pose_backup.register()
    rig_map_state.register()
    rig_preview.register()
    presets.register()
    import_clip.register()
    contact_overlay.register()
    timeline_bars.register()
    queue.register()
    thumbnails.register()
    job_panel.register()
    farm.register()


def unregister() -> None:
    """Stop running jobs and undo register() in reverse order."""
    farm.unregister()
    job_panel.unregister()
    thumbnails.unregister()
    queue.unregister()
    setup.WHAM_OT_measure_storage.stop()
    timeline_bars.unregister()
    contact_overlay.unregister()
    import_clip.unregister()
    presets.unregister()
    rig_preview.unregister()
    rig_map_state.unregister()
    pose_backup.unregister()
    properties.unregister()
    hooks.unregister()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
    translations.unregister()
