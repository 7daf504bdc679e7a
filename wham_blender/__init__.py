"""Import Video as Motion: WHAM for Blender. Importing this package needs no bpy; registering does."""


def register() -> None:
    """Register the add-on with Blender."""
    from .addon import registration

    registration.register()


def unregister() -> None:
    """Take everything back that register() gave Blender."""
    from .addon import registration

    registration.unregister()
