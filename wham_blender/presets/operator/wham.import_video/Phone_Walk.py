"""One person who walks, filmed by hand: hands are not looked at, jitter is removed."""

import bpy

settings = bpy.context.scene.wham
settings.person = "MAIN"
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
