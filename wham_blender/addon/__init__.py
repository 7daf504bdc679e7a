"""The Blender add-on. Imports bpy, never torch or cv2; the networks run in the worker (../pipeline)."""
