"""Makes, repairs, removes and moves the worker's own Python: a process of its own that speaks protocol.py. No bpy.

    installer install --base PYTHON --build AUTO|CUDA|CPU [--wheels FOLDER] [--repair]
    installer remove
    installer move FOLDER

Installing is the same work from nothing, after an interruption, over an older version, and to repair: what is whole
stays, the rest is fetched. Every package must have one of the hashes in ``pipeline/requirements.txt``. PyTorch's own
index is the exception where this copy has no ``requirements-BUILD.txt`` with its hashes (tools/lock.py writes them
where that index can be reached): then PyTorch's version is pinned, and its files are checked against the hashes that
the index itself gives over HTTPS.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

from ... import protocol
from . import location, python_environment, pytorch
from .location import LocationProblem
from .python_environment import RuntimeProblem

TORCH = re.compile(r"^(torch|torchvision|triton|cuda-[\w-]+|nvidia-(?!ml-py)[\w-]+)==")  # what PyTorch's index has
_UNPACKED = 2.0  # bytes on the disk for one downloaded, measured with CUDA on Linux
_READY, _FETCHED, _CHECKING = 0.03, 0.85, 0.97  # share of the work that is done when that begins
_MB = 1e6
_REMEMBERED = 200  # lines of pip's words that may tell why it failed
_TELLING = 5  # megabytes from which on the speed tells the time left
_PAUSE = 0.2  # seconds between two words on how far moving is
_CHANGED = (
    "A downloaded package is not the one that this version of the add-on was made with, so it was thrown away. Try "
    "again; if it happens again, something between here and the package index changes files. The log names it."
)
_UNKNOWN = "The worker's packages could not be installed; the log says why. Click Install Worker to try again."


def _say(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


def install(base: Path, wish: str, wheels: str = "", repair: bool = False) -> Path:
    """Make the worker's Python in runtime.own_folder() whole and return its interpreter.

    Raises RuntimeProblem, NoBuild or LocationProblem; what was done by then is used by the next attempt.
    """
    folder = python_environment.own_folder()
    _say(protocol.Progress("prepare", 0, 1, 0.0))
    found = python_environment.check_base(base)
    build = _build(folder, wish, repair)
    _say(protocol.Log(f"Python {found} at {base}; {build.reason}"))
    before = python_environment.read_marker(folder, python_environment.STARTED)
    python = python_environment.python_of(folder)
    if before.get("build") != build.name or before.get("python") != ".".join(map(str, found.version[:2])):
        delete(folder)
        _check_space(folder, build)
    (folder / python_environment.MARKER).unlink(missing_ok=True)
    python_environment.doctor_report().unlink(missing_ok=True)
    if not _runs(python):
        _make_environment(base, folder, found)
    noted = {
        "build": build.name,
        "python": ".".join(map(str, found.version[:2])),
        "packages": python_environment.fingerprint(),
    }
    _note(folder, python_environment.STARTED, noted)
    for name in damaged(folder, thoroughly=repair):
        _say(protocol.Log(f"{name} is damaged and is installed again"))
    _install_packages(python, build, wheels)
    if broken := damaged(folder, mend=False):
        raise RuntimeProblem(f"{', '.join(broken)} could not be installed whole; the log says more. Try again.")
    _note(folder, python_environment.MARKER, noted | {"home": _home(folder)})
    shutil.rmtree(python_environment.downloads_folder(), ignore_errors=True)
    return python


def remove() -> None:
    """Delete the Python that this add-on made and its downloads; raises RuntimeProblem where something stays."""
    _say(protocol.Progress("remove", 0, 1, 0.0))
    delete(python_environment.own_folder())
    delete(python_environment.downloads_folder())
    python_environment.doctor_report().unlink(missing_ok=True)


def delete(folder: Path) -> None:
    """Delete a folder; raises RuntimeProblem where something stays, which is then no whole worker any more."""
    try:
        if folder.exists():
            for name in (python_environment.MARKER, python_environment.STARTED):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder)
    except OSError as error:
        raise RuntimeProblem(
            f"The worker in {folder} cannot be deleted ({error}). Close what uses it and try again."
        ) from error


def damaged(folder: Path, thoroughly: bool = False, mend: bool = True) -> list[str]:
    """Names of packages of which a file is missing, has another size or, thoroughly, another hash (PEP 376's RECORD).

    To mend is to make pip forget them, so that it installs them again.
    """
    infos = sorted(folder.glob("[Ll]ib/**/site-packages/*.dist-info"))
    names = []
    for number, info in enumerate(infos):
        if thoroughly:
            _say(protocol.Progress("check files", number, len(infos), _READY * number / len(infos)))
        if not _whole(info, thoroughly):
            names.append(info.name.split("-")[0])
            if mend:
                shutil.rmtree(info)
    return names


def _whole(info: Path, thoroughly: bool) -> bool:
    try:
        with (info / "RECORD").open(encoding="utf-8", newline="") as record:
            for name, recorded, size in csv.reader(record):
                path = info.parent / name
                if not recorded:  # RECORD itself, and what Python compiles
                    continue
                if not path.is_file() or (size and path.stat().st_size != int(size)):
                    return False
                if thoroughly and recorded.startswith("sha256="):
                    with path.open("rb") as stream:
                        digest = hashlib.file_digest(stream, "sha256").digest()
                    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != recorded.removeprefix("sha256="):
                        return False
    except (OSError, ValueError):
        return False
    return (info / "METADATA").is_file()


def _build(folder: Path, wish: str, repair: bool) -> pytorch.Build:
    """The wished build; a repair keeps the one that is there."""
    there = python_environment.read_marker(folder, python_environment.STARTED).get("build")
    if repair and there:
        return pytorch.Build(there, "The same PyTorch as before.")
    return pytorch.choose(wish, *pytorch.here(), pytorch.cards())


def _check_space(folder: Path, build: pytorch.Build) -> None:
    megabytes = python_environment.download_size(build)
    free = location.free_space(folder)
    if megabytes and free < (needed := megabytes * _MB * (1 + _UNPACKED)):
        raise RuntimeProblem(
            f"There is not enough space in {folder.parent}: the worker needs {needed / 1e9:.1f} GB while it is "
            f"installed and {free / 1e9:.1f} GB are free. Make room, or move the files to another "
            "disk in the preferences."
        )


def _runs(python: Path) -> bool:
    try:
        python_environment.probe(python)
    except RuntimeProblem:
        return False
    return True


def _make_environment(base: Path, folder: Path, found: python_environment.Interpreter) -> None:
    """An environment without packages, or the one that is there put upon another base of the same version."""
    uv = shutil.which("uv")
    if found.makes_environments:
        command = [str(base), "-I", "-m", "venv", str(folder)]
        for link in folder.glob("bin/python*"):  # one that leads nowhere is in venv's way
            link.unlink()
    elif uv:
        command = [uv, "venv", "--no-project", "--allow-existing", "--python", str(base), str(folder)]
    else:
        raise RuntimeProblem(
            f"{base} cannot make environments: it lacks venv and ensurepip (Debian: apt install python3-venv). "
            "Install that, or uv (docs.astral.sh/uv), or choose another Python in the preferences under Made From."
        )
    done = subprocess.run(
        command, capture_output=True, check=False, stdin=subprocess.DEVNULL, encoding="utf-8", errors="replace"
    )
    _say(protocol.Log((done.stdout + done.stderr).strip()))
    if done.returncode or not _runs(python_environment.python_of(folder)):
        reason = next(iter((done.stderr or done.stdout).strip().splitlines()[-1:]), "no word")
        raise RuntimeProblem(f"A Python cannot be made in {folder} ({reason}). Is there space left?")


def _install_packages(python: Path, build: pytorch.Build, wheels: str) -> None:
    lock = (python_environment.PIPELINE / "requirements.txt").read_text("utf-8")
    own = python_environment.PIPELINE / f"requirements-{build.name}.txt"
    sizes = python_environment.download_sizes()
    fetch = _Fetch(python, wheels)
    if build.name == "pypi":
        fetch(lock, sum(sizes.values()))
    elif own.exists():
        fetch(own.read_text("utf-8"), sizes.get("others", 0), "--extra-index-url", build.index)
    else:
        fetch(_entries(lock, torch=False), sizes.get("others", 0))
        pins = re.findall(r"^(torch|torchvision)==([\w.]+)", lock, re.MULTILINE)
        try:
            fetch("\n".join(f"{name}=={version}+{build.name}" for name, version in pins), 0, "--index-url", build.index)
        except RuntimeProblem as problem:
            if build.name != "cpu" or wheels:
                raise
            # PyPI's build has CUDA, too much for a computer without it, but it works there.
            _say(protocol.Warn(f"PyTorch's own index did not help, so PyPI's larger package is taken. {problem}"))
            fetch(_entries(lock, torch=True), sizes.get("torch", 0))


def _entries(lock: str, torch: bool) -> str:
    """The entries of a lock that PyTorch's index has, or all others."""
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    return "".join(entry for entry in entries if bool(TORCH.match(entry)) == torch)


class _Fetch:
    """Installs lists of packages into an environment with uv where it is present, else with pip, and tells how far."""

    def __init__(self, python: Path, wheels: str) -> None:
        if wheels and not Path(wheels).is_dir():
            raise RuntimeProblem(f"There is no folder {wheels}. Choose the one that has the packages, or none.")
        self._python, self._wheels = python, wheels
        self._downloads = python_environment.downloads_folder()
        self._meter = _Meter()
        self._pip_options: list[str] = []

    def __call__(self, requirements: str, megabytes: int, *index: str) -> None:
        """Install what is listed, of which that many megabytes are to be expected; raises RuntimeProblem."""
        self._meter.expect(megabytes)
        options = ["--only-binary", ":all:", "--cache-dir", str(self._downloads / "cache"), *index]
        if "--hash=" in requirements:
            options += ["--require-hashes", "--no-deps"]  # a lock is complete
        if self._wheels:
            options += ["--no-index", "--find-links", self._wheels]
        if uv := shutil.which("uv"):
            code, said = self._install([uv, "pip", "install", "--python", str(self._python), *options], requirements)
            if not code:
                return
            if sentence := explain(said):
                raise self._failure(sentence)
            _say(protocol.Log("uv could not do it, so pip tries."))
        pip = [str(self._python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install", *options]
        # The pip that comes with a Python is years old: the listed one shows its progress and resumes a download.
        if listed := re.search(r"^pip==(?:.*\\\n)*.*\n?", requirements, re.MULTILINE):
            self._must(pip, listed[0])
            self._pip_options = ["--progress-bar", "raw", "--resume-retries", "5"]
        self._must([*pip, *self._pip_options], requirements)

    def _must(self, command: list[str], requirements: str) -> None:
        code, said = self._install(command, requirements)
        if code:
            raise self._failure(explain(said) or _UNKNOWN)

    def _install(self, command: list[str], requirements: str) -> tuple[int, list[str]]:
        """Run an installer on a list; its exit code and its last lines."""
        self._downloads.mkdir(parents=True, exist_ok=True)
        listed = self._downloads / "requirements.txt"
        listed.write_text(requirements, "utf-8")
        said: deque[str] = deque(maxlen=_REMEMBERED)
        with subprocess.Popen(
            [*command, "--requirement", str(listed)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                if not self._meter.heed(line):
                    _say(protocol.Log(line.rstrip()))
                    said.append(line)
        return process.returncode, list(said)

    def _failure(self, sentence: str) -> RuntimeProblem:
        if sentence == _CHANGED:  # or the same wrong file would come out of the cache again
            shutil.rmtree(self._downloads, ignore_errors=True)
        return RuntimeProblem(sentence)


class _Meter:
    """How far downloading is, out of what pip and uv say of it."""

    def __init__(self) -> None:
        self._expected = self._before = self._current = self._size = 0.0  # bytes
        self._sizes: dict[str, float] = {}  # of what uv is downloading, by name
        self._begun = time.monotonic()

    def expect(self, megabytes: int) -> None:
        """That much is going to be downloaded besides what was expected before."""
        self._expected += megabytes * _MB

    def heed(self, line: str) -> bool:
        """Take in one line and tell the progress; whether it was nothing but a progress bar."""
        if raw := re.match(r"Progress (\d+) of (\d+)", line):  # pip, for one file after the other
            now, size = map(float, raw.groups())
            if now < self._current or size != self._size:
                self._before += self._current
            self._current, self._size = now, size
            self._tell()
        elif begun := re.match(r"\s*Downloading (\S+) \(([\d.]+)([KMG])iB\)", line):  # uv, for several at a time
            self._sizes[begun[1]] = float(begun[2]) * 2.0 ** {"K": 10, "M": 20, "G": 30}[begun[3]]
        elif ended := re.match(r"\s*Downloaded (\S+)", line):
            self._before += self._sizes.pop(ended[1], 0.0)
            self._tell()
        elif line.startswith(("Installing collected", "Prepared ")):
            _say(protocol.Progress("unpack", 0, 1, _FETCHED))
        return raw is not None

    def _tell(self) -> None:
        done = self._before + self._current
        total = max(self._expected, done + sum(self._sizes.values()), self._before + self._size)
        left = (time.monotonic() - self._begun) * (total - done) / done if done > _TELLING * _MB else None
        fraction = _READY + (_FETCHED - _READY) * done / max(total, 1.0)
        _say(protocol.Progress("download (MB)", round(done / _MB), round(total / _MB), fraction, left))


def explain(said: list[str]) -> str:
    """The sentence for what pip or uv said when it failed; empty where the reason is unknown."""
    text = "".join(said)
    if re.search(r"do not match the hashes|Hash mismatch", text, re.IGNORECASE):
        return _CHANGED
    if re.search(r"No space left|not enough space|Errno 28\b|WinError 112|os error (28|112)\b", text, re.IGNORECASE):
        return (
            f"The disk of {python_environment.data_folder()} is full. Make room and click Install Worker again: it "
            "goes on from there. Or move the files to another disk in the preferences."
        )
    if re.search(
        r"connection broken|Failed to establish|name resolution|timed out|Read timed out|ProxyError|SSLError|"
        r"error sending request|dns error|Connection reset|failed to fetch|IncompleteRead",
        text,
        re.IGNORECASE,
    ):
        return (
            "The package index could not be reached. Check the internet connection and click Install Worker again: "
            "what was downloaded whole is kept."
        )
    if re.search(r"No matching distribution|no version of|has no wheels|No solution found", text, re.IGNORECASE):
        return (
            "There are no worker packages for this computer, or not in the folder that was chosen for them. They exist "
            "for Linux and Windows on 64-bit Intel or AMD, and for macOS 14 or later on Apple silicon."
        )
    if re.search(r"Permission denied|Access is denied|Errno 13\b|WinError 5\b", text, re.IGNORECASE):
        return (
            f"{python_environment.own_folder()} cannot be written. Close what uses the worker and check the folder's "
            "permissions."
        )
    return ""


def _note(folder: Path, name: str, noted: dict[str, str]) -> None:
    aside = folder / f"{name}.part"
    aside.write_text(json.dumps(noted), "utf-8")
    aside.replace(folder / name)


def _home(folder: Path) -> str:
    """The folder of the Python that an environment was made from (PEP 405)."""
    found = re.search(r"^home\s*=\s*(.+)$", (folder / "pyvenv.cfg").read_text("utf-8"), re.MULTILINE)
    return found[1].strip() if found else ""


def check(python: Path) -> int:
    """Let the worker's doctor look at a new worker and pass on what it says; its exit code."""
    command = python_environment.doctor_command(python)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as doctor:
        assert doctor.stdout is not None
        for line in doctor.stdout:
            message = protocol.decode(line)
            if isinstance(message, protocol.Progress):
                message = replace(message, fraction=_CHECKING + (1 - _CHECKING) * message.fraction)
            _say(message)
    return doctor.returncode


def _moved(folder: Path) -> None:
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() > told + _PAUSE:
            told = time.monotonic()
            _say(protocol.Progress("move (MB)", round(done / _MB), round(total / _MB), done / total if total else 1.0))

    for left in location.move(folder, progress):
        _say(protocol.Warn(f"{left} was moved, but the old one cannot be deleted. Close what uses it and move again."))


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the process's exit code."""
    parser = argparse.ArgumentParser(prog="installer")
    verbs = parser.add_subparsers(dest="verb", required=True)
    install_verb = verbs.add_parser("install")
    install_verb.add_argument("--base", type=Path, required=True)
    install_verb.add_argument("--build", choices=pytorch.WISHES, default="AUTO")
    install_verb.add_argument("--wheels", default="")
    install_verb.add_argument("--repair", action="store_true")
    verbs.add_parser("remove")
    verbs.add_parser("move").add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        with location.exclusive():
            if options.verb == "install":
                return check(install(options.base, options.build, options.wheels, options.repair))
            if options.verb == "remove":
                remove()
            else:
                _moved(options.folder)
            _say(protocol.Done(str(python_environment.data_folder())))
    except (RuntimeProblem, LocationProblem, pytorch.NoBuild) as problem:
        _say(protocol.Failed(str(problem)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
