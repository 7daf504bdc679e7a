"""Everybody in one world; hands are not looked at, which would take long for several."""

import bpy

settings = bpy.context.scene.wham
settings.person = "ALL"
settings.quality = "AUTO"
settings.world = "PLACED"
settings.camera = "AUTO"
settings.hands = "RELAXED"
settings.smooth = 0.1
settings.refine = True
settings.static_anchor = True
settings.plant_feet = True
settings.root_motion = "HIPS"
settings.keying = "ALL"
