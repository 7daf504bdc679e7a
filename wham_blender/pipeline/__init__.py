"""The worker side: from a clip to a Motion file. Imports torch and cv2; never bpy."""
