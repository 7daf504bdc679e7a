"""Base class of the add-on's panels: they are in one tab of the 3D Viewport's sidebar."""


class SidebarPanel:
    """Places a panel in the sidebar (N) of the 3D Viewport, in the tab Video Motion."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Motion"
