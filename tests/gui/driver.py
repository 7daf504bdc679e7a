"""Runs in the window's Blender: executes the Python that the test sends over a socket, and answers in JSON.

``blender --python driver.py -- SOCKET``. It only looks, and sets scenes up; what a user does is done with the mouse.
"""

import contextlib
import faulthandler
import json
import signal
import socket
import sys
import traceback

import bpy

_TICK = 0.005  # seconds


def under(x, y):
    """What lies under the pointer, at the screen's pixels from the lower left: an operator's call, a data path."""
    manager = bpy.context.window_manager
    for window in reversed(manager.windows):  # the newest is on top
        left, up = x - window.x, y - window.y
        for area in window.screen.areas:
            regions = [r for r in area.regions if r.x <= left < r.x + r.width and r.y <= up < r.y + r.height]
            for region in sorted(regions, key=lambda r: r.type == "WINDOW" and area.type == "VIEW_3D"):
                with bpy.context.temp_override(window=window, area=area, region=region):
                    for copy in (bpy.ops.ui.copy_python_command_button, bpy.ops.ui.copy_data_path_button):
                        if copy.poll():
                            manager.clipboard = ""
                            copy()
                            return manager.clipboard
    return ""


def module(name):
    """A module of the installed add-on."""
    return sys.modules[f"bl_ext.user_default.wham_blender.{name}"]


def addon_preferences():
    """The installed add-on's preferences."""
    return bpy.context.preferences.addons["bl_ext.user_default.wham_blender"].preferences


def _redraw():
    """Panels show what was set without a mouse or key, too."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            area.tag_redraw()


def _answer(names, request):
    try:
        try:
            return {"value": eval(compile(request, "request", "eval"), names)}  # noqa: S307 - the test's own words
        except SyntaxError:
            exec(compile(request, "request", "exec"), names)
            _redraw()
            return {"value": None}
    except Exception:
        return {"error": traceback.format_exc()}


def main():
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a test that waits no longer is no reason to end
    preferences = bpy.context.preferences
    preferences.view.show_splash = preferences.view.show_tooltips = False
    preferences.view.smooth_view = 0
    preferences.system.viewport_aa = "OFF"  # it draws every view many times over, which costs seconds in software
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[sys.argv.index("--") + 1])
    server.listen()
    server.setblocking(False)
    names = {"bpy": bpy, "under": under, "module": module, "preferences": addon_preferences}

    def serve():
        """Answer one question in each of Blender's rounds, which go: events come in, timers, what the events do."""
        with contextlib.suppress(BlockingIOError):
            connection, _ = server.accept()
            with connection:
                connection.setblocking(True)
                with connection.makefile("rb") as received:
                    request = received.read().decode()
                connection.sendall(json.dumps(_answer(names, request), default=str).encode())
        return _TICK

    bpy.app.timers.register(serve, persistent=True)


main()
