"""Units of length: everything that is computed is in metres, and scenes show their own units by their unit scale."""

from __future__ import annotations

import bpy

from .checks import ValueRefused

_UNITS = (1e-4, 1e4)  # metres of a unit of length for which Blender's float32 holds people of 1.75 m well


def unit_of(scene: bpy.types.Scene) -> float:
    """Metres of a unit of length, as Blender shows it: what is 1.75 m tall is 1.75 / unit units tall."""
    units = scene.unit_settings
    return 1.0 if units.system == "NONE" else float(units.scale_length)


def checked_unit(scene: bpy.types.Scene) -> float:
    """`unit_of` a scene. Raises ValueRefused if it is too large or too small for people."""
    unit = unit_of(scene)
    if not _UNITS[0] <= unit <= _UNITS[1]:
        raise ValueRefused(
            f"The unit scale of {scene.name} is {unit:g}, in which people cannot be placed. Set it to 1, or to 0.01 "
            "for centimetres, in the properties of the scene, Units.",
            code="unit-scale",
        )
    return unit


def metres_per_unit(obj: bpy.types.Object) -> float:
    """`unit_of` the scene that an object is in."""
    scene, scenes = bpy.context.scene, obj.users_scene
    return unit_of(scene if scene in scenes or not scenes else scenes[0])
