"""A small Debian with a real Blender and an X server, kept in the user's cache: made once, by root, in two minutes.

Nothing is installed on the machine itself but mmdebstrap, which makes it; the packages come from where the machine's
own apt gets them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import build

SUITE = "trixie"  # the first Debian whose Blender (4.3) is one that the add-on supports
PACKAGES = (
    # Blender, and the Python modules that its own add-ons import
    "blender", "python3-numpy", "python3-requests", "python3-cattr", "python3-zstandard",
    "libgl1", "libgl1-mesa-dri", "libegl1",  # drawing in software
    "xvfb", "xdotool", "imagemagick",  # a screen, a hand, an eye
)  # fmt: skip
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


class Unavailable(Exception):
    """There can be no window on this machine; the text is the reason."""


def root() -> Path:
    """The root folder of the Debian, made where it is absent; raises Unavailable where that cannot be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unavailable("a window needs root on Linux, for a Debian in a folder of its own")
    if not shutil.which("apt-get"):
        raise Unavailable("a window needs Debian's packages, and there is no apt-get")
    content = "\0".join([SUITE, *PACKAGES, *LEFT_OUT])
    folder = build.environments_folder().parent / "gui" / hashlib.sha256(content.encode()).hexdigest()[:12]
    with build.exclusive(f"gui-{folder.name}"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _make(folder / "root")
            (folder / "complete").touch()
    return folder / "root"


def _make(root: Path) -> None:
    _apt("update")
    if not shutil.which("mmdebstrap"):
        _apt("install", "-y", "--no-install-recommends", "mmdebstrap")
    # Label: the security updates' address, which has Debian as its origin too, holds no whole Debian.
    sources = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Label: Debian"]
    mirrors = subprocess.run(sources, capture_output=True, text=True, check=True).stdout.split()
    if not mirrors:
        raise Unavailable("a window needs Debian's packages, and this machine's apt sources name none of Debian")
    command = ["mmdebstrap", "--variant=apt", "--dpkgopt=force-unsafe-io", f"--include={','.join(PACKAGES)}"]
    _run([*command, *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT), SUITE, str(root), mirrors[0]])


def _apt(*arguments: str) -> None:
    _run(["apt-get", "-q", *arguments])


def _run(command: list[str]) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:2])} failed: {' / '.join(done.stdout.splitlines()[-3:])}")
