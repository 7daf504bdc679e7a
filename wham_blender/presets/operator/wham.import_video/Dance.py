"""One dancer: fingers as filmed, nothing is smoothed that is fast."""

import bpy

settings = bpy.context.scene.wham
settings.person = "MAIN"
settings.quality = "AUTO"
settings.world = "PLACED"
settings.camera = "AUTO"
settings.hands = "FILM"
settings.smooth = 0.0
settings.refine = True
settings.static_anchor = True
settings.plant_feet = True
settings.root_motion = "HIPS"
settings.keying = "ALL"
