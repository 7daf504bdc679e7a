"""Blender operators, one file for each task of the user."""
