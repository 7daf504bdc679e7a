"""The Blender side. Imports bpy; never torch or cv2."""
