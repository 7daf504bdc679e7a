"""Panels in the sidebar of the 3D Viewport, and the add-on's preferences."""
