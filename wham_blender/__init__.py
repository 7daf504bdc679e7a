"""Import Video as Motion: WHAM for Blender. Importing this package needs no bpy; registering does."""


def register() -> None:
    """Register the add-on with Blender."""
    from .addon import registration

    registration.register()


def unregister() -> None:
    """Remove everything that register() added to Blender."""
    from .addon import registration

    registration.unregister()
