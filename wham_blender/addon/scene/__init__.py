"""What an imported motion is in a scene: armature, body mesh, action, contacts and camera."""
