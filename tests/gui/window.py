"""A Blender in a real window, with a hand and an eye for the test: the pointer, the keys, screenshots, questions.

Everything runs in a Debian's root (debian.py) and in namespaces of its own: mounts, processes and network. They end
with the test's process, however that ends, and nothing in them can reach a network.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from debian import Unavailable

DRIVER = Path(__file__).with_name("driver.py")
SCREEN = 1920, 1080  # pixels
HEIGHT = SCREEN[1]
SIZE = 1280, 960  # of Blender's window, which is in the screen's upper left corner
_WINDOWS = "bpy.context.window_manager.windows"
_SCROLL = 10  # steps of the wheel, less than the height of the sidebar
_ROW = 17  # pixels between two looks for a button, which is 20 high at scale 1

# The namespace's first process: it makes what Blender needs to see, starts the X server, and ends with its input,
# a pipe from the test. The kernel ends all others with it.
_INIT = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
for path; do
    if [ -d "$path" ]; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}"; : >>"$root$path"; fi
    mount --rbind "$path" "$root$path"
done
mkdir -p -m 1777 "$root/tmp/.X11-unix"
chroot "$root" Xvfb :1 -screen 0 SIZE -nolisten tcp -noreset >"$root$1/xvfb.log" 2>&1 &
for _ in $(seq 200); do [ -S "$root/tmp/.X11-unix/X1" ] && break; sleep 0.05; done
echo ready
read _ || exit 0
"""


@dataclass(frozen=True)
class Region:
    """A part of a window of Blender's, in the screen's pixels from the upper left."""

    x: int
    y: int
    width: int
    height: int


class Window:
    """Blender in its window; ``end`` ends it with all that it started."""

    def __init__(self, root: Path, folder: Path, shots: Path, shared: list[Path], environ: dict[str, str]) -> None:
        """Start the X server; raises Unavailable where this machine does not let us.

        ``folder`` is the test's own, ``shared`` what else Blender sees of this machine, ``shots`` where pictures go.
        """
        self.folder, self.shots = folder, shots
        environ = {
            "HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "DISPLAY": ":1",
            "LIBGL_ALWAYS_SOFTWARE": "1", "MESA_SHADER_CACHE_DIR": "/var/cache/mesa",  # kept in the root
            "BLENDER_USER_RESOURCES": str(folder / "blender"), **environ,
        }  # fmt: skip
        init = _INIT.replace("SIZE", f"{SCREEN[0]}x{SCREEN[1]}x24")
        spaces = ["--mount", "--pid", "--net", "--fork", "--kill-child"]
        self._init = subprocess.Popen(
            ["unshare", *spaces, "sh", "-c", init, "init", *map(str, [root, folder, *shared])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._init.stdout and self._init.stderr
        if self._init.stdout.readline() != "ready\n":
            raise Unavailable(f"a window needs mounts of its own: {self._init.stderr.read().strip()}")
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._first = children[0]
        self._enter = ["nsenter", "-t", self._first, "-m", "-p", "-n", "chroot", str(root), "env", "-i"]
        self._enter += [f"{name}={value}" for name, value in environ.items()]
        self._blender: subprocess.Popen[bytes] | None = None
        self._row = 0.0  # where a button was found last
        self.size, self.scale = SIZE, 1.0
        self.clicks = 0
        self._hand = self._new_hand()

    def command(self, *words: str) -> str:
        """Run a command beside Blender; what it says."""
        return subprocess.run([*self._enter, *words], capture_output=True, text=True, check=True, timeout=30).stdout

    # --- Blender ----------------------------------------------------------------------------------------------------

    def open(self, *arguments: str) -> None:
        """Start Blender and wait until it answers."""
        self._socket = self.folder / "driver.socket"
        self._socket.unlink(missing_ok=True)
        geometry = ["--window-geometry", "0", str(HEIGHT - self.size[1]), *map(str, self.size)]  # from the lower left
        # Before what else this machine does: a window that is drawn in software and has to wait is no user's.
        command = [
            "nice",
            "-n",
            "-5",
            "blender",
            *geometry,
            *arguments,
            "--python",
            str(DRIVER),
            "--",
            str(self._socket),
        ]
        with (self.folder / "blender.log").open("ab") as log:
            self._blender = subprocess.Popen([*self._enter, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_for(self._answers, 180, "Blender does not start")

    def _answers(self) -> bool:
        assert self._blender is not None
        if self._blender.poll() is not None:
            raise RuntimeError(
                f"Blender ended ({self._blender.returncode}): {(self.folder / 'blender.log').read_text()[-2000:]}"
            )
        try:
            return bool(self.ask("1"))
        except OSError:
            return False

    def ask(self, request: str, seconds: float = 120) -> Any:
        """Have Blender evaluate or execute Python; the value. ``bpy``, ``module`` and ``under`` are there."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(self._socket))
            connection.sendall(request.encode())
            connection.shutdown(socket.SHUT_WR)
            try:
                answer = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
            except TimeoutError as error:
                raise AssertionError(f"Blender does not answer {request}\n{self._stack()}") from error
        if "error" in answer:
            raise AssertionError(f"{request}\n{answer['error']}")
        return answer["value"]

    def _stack(self) -> str:
        """What Blender's Python is at, as the end of its log."""
        for number in self.processes(str(DRIVER)):
            os.kill(number, signal.SIGUSR1)
        time.sleep(1)
        return (self.folder / "blender.log").read_text()[-4000:]

    def wait_for(self, question: str | Callable[[], Any], seconds: float, otherwise: str = "") -> Any:
        """Ask until the answer is true; the answer."""
        limit = time.monotonic() + seconds
        while True:
            if answer := self.ask(question) if isinstance(question, str) else question():
                return answer
            assert time.monotonic() < limit, f"{otherwise or question}: not after {seconds} s"
            time.sleep(0.05)

    def has(self, area: str) -> bool:
        """Whether an area of that type is on the screen."""
        return bool(self.ask(f"{area!r} in [a.type for w in {_WINDOWS} for a in w.screen.areas]"))

    def kill(self) -> None:
        """End Blender as a crash does."""
        assert self._blender is not None
        with contextlib.suppress(OSError, ValueError):  # there is no answer
            self.ask("__import__('os').kill(__import__('os').getpid(), 9)")
        self._blender.wait(10)

    def processes(self, words: str) -> list[int]:
        """Numbers, as this machine has them, of the living processes of the window with that in their command line."""
        space = Path(f"/proc/{self._first}/ns/pid").readlink()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if words in command and (path / "ns/pid").readlink() == space:
                    found.append(int(path.name))
        return found

    def end(self) -> None:
        """End everything."""
        assert self._init.stdin
        self._init.stdin.close()
        self._init.wait(10)
        if self._blender is not None:
            self._blender.wait(10)

    # --- hand and eye -----------------------------------------------------------------------------------------------

    def _new_hand(self) -> subprocess.Popen[str]:
        words = [*self._enter, "xdotool", "-"]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _do(self, *words: object) -> None:
        """Have xdotool do something, and wait until it has.

        A click may close the window under the pointer. Asked for its place meanwhile, xdotool ends by an X error, when
        the click is done: the next thing is done by a new one.
        """
        assert self._hand.stdin and self._hand.stdout
        self._hand.stdin.write(" ".join(map(str, words)) + "\ngetmouselocation\n")
        self._hand.stdin.flush()
        if not self._hand.stdout.readline():
            assert "click" in words, "xdotool has ended"
            self._hand.wait(10)
            self._hand = self._new_hand()

    def point(self, x: float, y: float) -> None:
        """Move the pointer."""
        self._do("mousemove", round(x), round(y))

    def click(self, x: float, y: float, times: int = 1) -> None:
        """Point and click; a double click counts as one."""
        self.clicks += 1
        self._do("mousemove", round(x), round(y), "sleep", 0.1, "click", "--repeat", times, "--delay", 60, 1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the button at one place and release it at another."""
        self._do("mousemove", *map(round, start), "sleep", 0.2, "mousedown", 1, "sleep", 0.1)
        for part in (0.5, 1.0):
            self._do("mousemove", *(round(a + part * (b - a)) for a, b in zip(start, end, strict=True)), "sleep", 0.1)
        self._do("mouseup", 1)
        time.sleep(0.3)

    def press(self, *keys: str) -> None:
        """Press keys, as ctrl+z, one after the other."""
        self._do("key", "--delay", 60, *keys)

    def fill(self, x: float, y: float, text: str) -> None:
        """Type into a field in place of what it holds."""
        self.click(x, y, times=2)
        time.sleep(0.2)
        self.press("ctrl+a")
        self._do("type", "--delay", 5, text)
        self.press("Return")

    def region(self, area: str, kind: str) -> Region:
        """Where a region of an area is, in whichever window."""
        x, y, width, height = self.ask(
            f"next((w.x + r.x, w.y + r.y, r.width, r.height) for w in {_WINDOWS} for a in w.screen.areas "
            f"if a.type == {area!r} for r in a.regions if r.type == {kind!r})"
        )
        return Region(x, HEIGHT - y - height, width, height)

    def under(self, x: float, y: float) -> str:
        """What the pointer would click: the call of an operator's button, the data path of a property's field."""
        self.point(x, y)
        for _ in range(2):  # rounds of Blender's, until it has done what the pointer's move means
            self.ask("None")
        return str(self.ask(f"under({round(x)}, {HEIGHT - 1 - round(y)})"))

    def find(
        self, words: str, column: float = 0.5, region: Region | None = None, near: float | None = None
    ) -> tuple[float, float]:
        """Where a button is whose call or path has these words: found by pointing, as a user would.

        Looked for in the sidebar, or another region, at one part of its width; from a height on, or where one was found
        last, up and down; then further down in the region, at its top, and down from there.
        """
        near = self._row if near is None else near
        region = region or self.panel()
        x = region.x + column * region.width
        step = round(_ROW * self.scale)
        rows = range(region.y + step, region.y + region.height - step, step)
        for steps in (0, _SCROLL, -20 * _SCROLL, _SCROLL, _SCROLL, _SCROLL):
            if steps:
                self.scroll(region, steps)
            for y in sorted(rows, key=lambda row: abs(row - near)):
                if words in self.under(x, y):
                    self._row = y
                    return x, y
        self.shot("not found")
        raise AssertionError(f"no {words} can be clicked at {x:.0f} in {region}")

    def shot(self, name: str) -> None:
        """Keep a picture of the window."""
        cv2.imwrite(str(self.shots / f"{name}.png"), self.picture()[: self.size[1], : self.size[0]])

    def picture(self) -> np.ndarray:
        """What the screen shows: (1080, 1920, 3) uint8 BGR."""
        self.ask("bpy.context.scene.name")  # what was asked for before is drawn by the time of the next answer
        time.sleep(0.2)
        path = self.folder / "picture.png"
        self.command("import", "-window", "root", str(path))
        picture = cv2.imread(str(path))
        assert picture is not None
        return picture

    # --- what the tests look at again and again ---------------------------------------------------------------------

    def panel(self) -> Region:
        """The sidebar of the 3D view."""
        return self.region("VIEW_3D", "UI")

    def blue(self, left: float, right: float, y: float) -> int:
        """How many pixels of a line are blue, as the filled part of a progress bar is."""
        blue, _, red = self.picture()[round(y), round(left) : round(right)].astype(int).T
        return int((blue > red + 40).sum())

    def resize(self, size: tuple[int, int], scale: float) -> None:
        """Give Blender's window another size in pixels, and its interface another scale."""
        self.size, self.scale = size, scale
        number = self.command("xdotool", "search", "--onlyvisible", "--class", "blender").split()[0]
        # Blender learns its place from a move only, and needs it for what the pointer is over.
        self.command("xdotool", "windowmove", number, "9", "9", "windowsize", number, *map(str, size), "sleep", "0.2")
        self.command("xdotool", "windowmove", number, "0", "0")
        self.ask(f"bpy.context.preferences.view.ui_scale = {scale}")
        place = [0, HEIGHT - size[1], *size]
        self.wait_for(f"(lambda w: [w.x, w.y, w.width, w.height])({_WINDOWS}[0]) == {place}", 10)

    def show_tab(self) -> None:
        """Open the sidebar of the 3D view, and in it the tab Video Motion."""
        self.ask("next(a for a in bpy.context.screen.areas if a.type == 'VIEW_3D').spaces.active.show_region_ui = True")
        region = (
            f"next(r for w in {_WINDOWS} for a in w.screen.areas if a.type == 'VIEW_3D' "
            "for r in a.regions if r.type == 'UI')"
        )
        self.wait_for(f"{region}.width > 1 and {region}.active_panel_category != 'UNSUPPORTED'", 10)
        self.ask(f"setattr({region}, 'active_panel_category', 'Video Motion')")
        self.wait_for(f"{region}.active_panel_category == 'Video Motion'", 10)

    def scroll(self, region: Region, steps: int) -> None:
        """Turn the wheel over a region, downwards, or upwards for negative steps."""
        middle = region.x + region.width / 2, region.y + region.height / 2
        turn = "--repeat", abs(steps), "--delay", 30, 5 if steps > 0 else 4
        self._do("mousemove", *map(round, middle), "sleep", 0.1, "click", *turn)
        time.sleep(0.5)

    def close_newest(self) -> None:
        """Close the window that was opened last."""
        newest = f"bpy.context.temp_override(window={_WINDOWS}[-1])"
        self.ask(f"with {newest}: bpy.ops.wm.window_close()")

    def in_view(self, *keys: str) -> None:
        """Press keys with the pointer over the 3D view."""
        view = self.region("VIEW_3D", "WINDOW")
        self.point(view.x + view.width / 3, view.y + view.height / 2)
        time.sleep(0.2)
        self.press(*keys)
        time.sleep(0.5)
