"""An imported motion in a Blender scene: armature, body mesh, action, contact properties and camera."""
