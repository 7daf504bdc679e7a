"""One person for a game engine: movement on the root bone of rigs, few keyframes."""

import bpy

settings = bpy.context.scene.wham
settings.person = "MAIN"
settings.quality = "AUTO"
settings.world = "PLACED"
settings.camera = "AUTO"
settings.hands = "FILM"
settings.smooth = 0.1
settings.refine = True
settings.static_anchor = True
settings.plant_feet = True
settings.root_motion = "ROOT"
settings.keying = "FEW"
