"""Installs, checks, repairs, removes and moves the worker, in a process that writes messages of protocol.py. No bpy.

    installer install --base PYTHON --build AUTO|CUDA|CPU [--wheels FOLDER] [--repair] [--larger] [--full]
    installer check PYTHON
    installer remove
    installer move FOLDER

Installing does the same work from nothing, after an interruption, over an older version, and to repair: complete
packages stay, the rest is downloaded. Packages that only Full quality needs (``pipeline/full_packages.txt``) are left
out until ``--full`` asks for them; from then on they are part of the worker.

Every package must have one of the hashes in ``pipeline/requirements.txt``. The
exception is PyTorch's own index if this copy has no ``requirements-BUILD.txt`` with its hashes (tools/lock.py writes
them where that index can be reached): then PyTorch's version is pinned, and its files are checked against the hashes
that the index itself gives over HTTPS.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import deque
from dataclasses import replace
from pathlib import Path

from ... import limits, protocol
from ...errors import CodedError, reason
from ...files import replace_text, sha256_of
from . import location, pip, python_environment, pytorch
from .python_environment import WorkerError

TORCH = re.compile(r"^(torch|torchvision|triton|cuda-[\w-]+|nvidia-(?!ml-py)[\w-]+)==")  # packages in PyTorch's index
_UNPACKED = 2.0  # bytes on the disk for each byte downloaded, measured with CUDA on Linux
# Fractions of the work at which downloading, unpacking and the self-test begin; set by hand.
_DOWNLOAD_BEGINS, _UNPACK_BEGINS, _SELF_TEST_BEGINS = 0.03, 0.85, 0.97
_MB = 1e6
_KEPT_LINES = 200  # of pip's output, in which the reason for its failure is searched
_ETA_FROM = 5  # megabytes from which on the remaining time is estimated
_SAME_WITH_PIP = {"package-changed", "worker-disk-full", "worker-folder-not-writable"}  # where uv fails, pip will, too
_PAUSE = 0.2  # seconds between two messages about the progress of a move


def install(
    base: Path, wish: str, wheels: str = "", repair: bool = False, larger: bool = False, full: bool = False
) -> Path:
    """Install the worker into python_environment.worker_folder() and return its interpreter.

    ``larger``: where PyTorch's index cannot be used, take PyPI's build, which is much larger than was announced.
    ``full``: also the packages that only Full quality needs; a worker that has them keeps them. Raises
    WorkerError or BuildError; the next attempt uses what was done by then.
    """
    folder = python_environment.worker_folder()
    protocol.send(protocol.Progress("prepare", 0, 1, 0.0))
    base_python = python_environment.check_base(base)
    build = _build(folder, wish, repair)
    protocol.send(protocol.Log(f"Python {base_python} at {base}; {build.reason}"))
    before = python_environment.read_marker(folder, python_environment.STARTED)
    # Workers of earlier versions, which do not say so, have them.
    full = full or before.get("full", "yes" if before else "no") == "yes"
    megabytes = python_environment.download_size(build, full) or 0
    if python_environment.lacks_full_packages():
        megabytes = python_environment.full_download()
    python = python_environment.python_of(folder)
    if before.get("build") != build.name or before.get("python") != ".".join(map(str, base_python.version[:2])):
        delete(folder)
        _check_space(folder, megabytes)
    (folder / python_environment.MARKER).unlink(missing_ok=True)
    python_environment.self_test_report().unlink(missing_ok=True)
    if not _runs(python):
        _make_environment(base, folder, base_python)
    content = {
        "build": build.name,
        "python": ".".join(map(str, base_python.version[:2])),
        "packages": python_environment.fingerprint(),
        "full": "yes" if full else "no",
    }
    replace_text(folder / python_environment.STARTED, json.dumps(content))
    for name in damaged(folder, thoroughly=repair):
        protocol.send(protocol.Log(f"{name} is damaged and is installed again"))
    _install_packages(_Fetch(python, wheels, megabytes), build, larger, full)
    if broken := damaged(folder, forget=False):
        raise WorkerError(
            f"{', '.join(broken)} could not be installed completely; the log says more. Try again.",
            code="packages-not-installed",
        )
    replace_text(folder / python_environment.MARKER, json.dumps(content | {"home": _home(folder)}))
    shutil.rmtree(python_environment.downloads_folder(), ignore_errors=True)
    return python


def remove() -> None:
    """Delete the installed environment and its downloads; raises WorkerError if a file cannot be deleted."""
    protocol.send(protocol.Progress("remove", 0, 1, 0.0))
    delete(python_environment.worker_folder())
    delete(python_environment.downloads_folder())
    python_environment.self_test_report().unlink(missing_ok=True)


def delete(folder: Path) -> None:
    """Delete an environment, its markers first; raises WorkerError if a file cannot be deleted."""
    try:
        if folder.exists():
            for name in (python_environment.MARKER, python_environment.STARTED):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder)
    except OSError as error:
        raise WorkerError(
            f"The worker in {folder} cannot be deleted ({error}). Close what uses it and try again.",
            code="worker-not-deletable",
        ) from error


def damaged(folder: Path, thoroughly: bool = False, forget: bool = True) -> list[str]:
    """Names of packages of which a file is missing, has another size or, thoroughly, another hash (PEP 376's RECORD).

    ``forget``: delete their dist-info, so that pip installs them again.
    """
    infos = sorted(folder.glob("[Ll]ib/**/site-packages/*.dist-info"))
    names = []
    for number, info in enumerate(infos):
        if thoroughly:
            protocol.send(protocol.Progress("check files", number, len(infos), _DOWNLOAD_BEGINS * number / len(infos)))
        if not _is_complete(info, thoroughly):
            names.append(info.name.split("-")[0])
            if forget:
                shutil.rmtree(info)
    return names


def _is_complete(info: Path, thoroughly: bool) -> bool:
    try:
        with (info / "RECORD").open(encoding="utf-8", newline="") as record:
            for name, recorded, size in csv.reader(record):
                path = info.parent / name
                if not recorded:  # RECORD itself, and compiled files
                    continue
                if not path.is_file() or (size and path.stat().st_size != int(size)):
                    return False
                if thoroughly and recorded.startswith("sha256="):
                    digest = bytes.fromhex(sha256_of(path))
                    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != recorded.removeprefix("sha256="):
                        return False
    except (OSError, ValueError):
        return False
    return (info / "METADATA").is_file()


def _build(folder: Path, wish: str, repair: bool) -> pytorch.Build:
    """The build that was asked for; a repair keeps the installed one."""
    installed = python_environment.read_marker(folder, python_environment.STARTED).get("build", "")
    if repair and re.fullmatch("[a-z0-9]{1,20}", installed):
        return pytorch.Build(installed, "The same PyTorch as before.")
    return pytorch.choose(wish, *pytorch.here(), pytorch.cards())


def _check_space(folder: Path, megabytes: int) -> None:
    """Raise WorkerError if the disk has too little space for so large a download; 0: its size is not known."""
    free = location.free_space(folder)
    if megabytes and free < (needed := megabytes * _MB * (1 + _UNPACKED)):
        raise WorkerError(
            f"There is not enough space in {folder.parent}: the worker needs {needed / 1e9:.1f} GB while it is "
            f"installed and {free / 1e9:.1f} GB are free. Make room, or move the files to another "
            "disk in the preferences.",
            code="worker-disk-full",
        )


def _runs(python: Path) -> bool:
    try:
        python_environment.probe(python)
    except WorkerError:
        return False
    return True


def _make_environment(base: Path, folder: Path, base_python: python_environment.Interpreter) -> None:
    """Make an environment without packages, or give an existing one another base of the same version."""
    uv = shutil.which("uv")
    if base_python.makes_environments:
        command = [str(base), "-I", "-m", "venv", str(folder)]
        for link in folder.glob("bin/python*"):  # venv fails on a dangling link
            link.unlink()
    elif uv:
        command = [uv, "venv", "--no-project", "--allow-existing", "--python", str(base), str(folder)]
    else:
        raise WorkerError(
            f"{base} cannot make environments: it lacks venv and ensurepip (Debian: apt install python3-venv). "
            "Install that, or uv (docs.astral.sh/uv), or choose another Python in the preferences under Base Python.",
            code="python-unsuitable",
        )
    done = subprocess.run(
        command, capture_output=True, check=False, stdin=subprocess.DEVNULL, encoding="utf-8", errors="replace"
    )
    protocol.send(protocol.Log((done.stdout + done.stderr).strip()))
    if done.returncode or not _runs(python_environment.python_of(folder)):
        reason = next(iter((done.stderr or done.stdout).strip().splitlines()[-1:]), "no reason given")
        raise WorkerError(
            f"A Python cannot be made in {folder} ({reason}). Is there space left?", code="python-unsuitable"
        )


def _install_packages(fetch: _Fetch, build: pytorch.Build, larger: bool, full: bool) -> None:
    lock = _lock("requirements.txt", full)
    build_lock = f"requirements-{build.name}.txt"
    if build.name == "pypi":
        fetch(lock)
    elif (python_environment.PIPELINE / build_lock).exists():
        fetch(_lock(build_lock, full), "--extra-index-url", build.index)
    else:
        fetch(_of_torch(lock, False), last=False)
        pins = re.findall(r"^(torch|torchvision)==([\w.]+)", lock, re.MULTILINE)
        try:
            fetch("\n".join(f"{name}=={version}+{build.name}" for name, version in pins), "--index-url", build.index)
        except WorkerError as problem:
            if build.name != "cpu" or fetch.wheels:
                raise
            if not larger:
                raise WorkerError(
                    f"PyTorch for the processor cannot be downloaded from its own index. {problem} PyPI has only the "
                    "build with CUDA, which runs without a card, too, but is "
                    f"{python_environment.larger_download() / 1000:.1f} GB to download, much more than was announced. "
                    "Try again later, or click Download the Larger PyTorch.",
                    code="larger-download",
                ) from problem
            fetch(_of_torch(lock, True))


def _lock(name: str, full: bool) -> str:
    """A lock file; without ``full`` its entries of packages that only Full quality needs are left out."""
    left_out = frozenset() if full else python_environment.full_packages()
    entries = _entries((python_environment.PIPELINE / name).read_text("utf-8"))
    return "".join(entry for entry in entries if entry.partition("==")[0] not in left_out)


def _of_torch(lock: str, torch: bool) -> str:
    """The entries of a lock that PyTorch's index has, or all others."""
    return "".join(entry for entry in _entries(lock) if bool(TORCH.match(entry)) == torch)


def _entries(lock: str) -> list[str]:
    return re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]


class _Fetch:
    """Installs lists of packages into an environment, with uv if there is one, else with pip; reports progress."""

    def __init__(self, python: Path, wheels: str, megabytes: int) -> None:
        """``megabytes``: size of all downloads, 0 if it is not known.

        Raises WorkerError if the folder ``wheels`` is missing; it is empty where packages are downloaded.
        """
        if wheels and not Path(wheels).is_dir():
            raise WorkerError(
                f"There is no folder {wheels}. Choose the one that has the packages, or none.",
                code="wheels-folder-not-found",
            )
        self.wheels = wheels
        self._python = python
        self._downloads = python_environment.downloads_folder()
        self._meter = _DownloadMeter(megabytes)
        self._log = self._downloads / "pip.log"
        self._pip_options: list[str] = []
        self._settings = pip.settings(python)

    def __call__(self, requirements: str, *index: str, last: bool = True) -> None:
        """Install the listed packages; raises WorkerError. ``last``: no other list follows, if this one succeeds."""
        options = ["--only-binary", ":all:", "--cache-dir", str(self._downloads / "cache"), *index]
        if "--hash=" in requirements:
            options += ["--require-hashes", "--no-deps"]  # a lock file is complete
        if self.wheels:
            options += ["--no-index", "--find-links", self.wheels]
        if uv := shutil.which("uv"):
            command = [uv, "pip", "install", "--python", str(self._python), *options]
            code, output = self._install(command, requirements, last)
            if not code:
                return
            # Not its other failures: pip has proxies and certificates in its settings that uv does not know.
            if (error := pip.explain(output)) and error.code in _SAME_WITH_PIP:
                raise self._failure(error)
            protocol.send(protocol.Log("uv failed, so pip is used."))
        # Index and way to it as the user has set them up for pip, but for PyTorch's own index.
        settings = {name: value for name, value in self._settings.items() if f"--{name}" not in index}
        # A Python's bundled pip may be too old to report progress and to resume a download; the listed one does both.
        if listed := re.search(r"^pip==(?:.*\\\n)*.*\n?", requirements, re.MULTILINE):
            self._pip_install(options, listed[0], settings, last=False)
            self._pip_options = ["--progress-bar", "raw", "--resume-retries", "5"]
        self._pip_install([*options, *self._pip_options], requirements, settings, last)

    def _pip_install(self, options: list[str], requirements: str, settings: dict[str, str], last: bool) -> None:
        """Run pip; raises WorkerError if it fails."""
        self._downloads.mkdir(parents=True, exist_ok=True)
        self._log.unlink(missing_ok=True)
        command = [str(self._python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        command += ["--log", str(self._log), *pip.certificate_options(self._python, settings, self._downloads)]
        code, output = self._install([*command, *options], requirements, last, pip.environment(settings))
        if code:
            for line in (why := pip.reasons(self._log)):
                protocol.send(protocol.Log(line.rstrip()))
            unknown = WorkerError(
                "The worker's packages could not be installed; the log says why. Click Install Worker to try again.",
                code="packages-not-installed",
            )
            raise self._failure(pip.explain([*output, *why], settings) or unknown)

    def _install(
        self, command: list[str], requirements: str, last: bool, environment: dict[str, str] | None = None
    ) -> tuple[int, list[str]]:
        """Run an installer on a list; its exit code and its last lines."""
        self._downloads.mkdir(parents=True, exist_ok=True)
        listed = self._downloads / "requirements.txt"
        listed.write_text(requirements, "utf-8")
        output: deque[str] = deque(maxlen=_KEPT_LINES)
        self._meter.is_last = last
        with subprocess.Popen(
            [*command, "--requirement", str(listed)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            errors="replace", env=environment,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            while line := process.stdout.readline(limits.MESSAGE_BYTES):
                if not self._meter.read(line):
                    protocol.send(protocol.Log(line.rstrip()))
                    output.append(line)
        return process.returncode, list(output)

    def _failure(self, error: WorkerError) -> WorkerError:
        if error.code == "package-changed":  # or the cache would deliver the same wrong file again
            shutil.rmtree(self._downloads, ignore_errors=True)
        return error


class _DownloadMeter:
    """The progress of a download of several lists, read from the output of pip and uv. It never goes back."""

    def __init__(self, megabytes: int) -> None:
        """``megabytes``: the size of the whole download, as far as it is known."""
        self.is_last = True  # of the lists
        self._expected = megabytes * _MB  # bytes, as the next ones
        self._before = self._current = self._size = 0.0
        self._fraction = 0.0  # that was reported last
        self._sizes: dict[str, float] = {}  # of the files that uv is downloading, by name
        self._begun = time.monotonic()

    def read(self, line: str) -> bool:
        """Read one line of output and report the progress; returns whether the line only shows progress."""
        if raw := re.match(r"Progress (\d{1,15}) of (\d{1,15})\b", line):  # pip, one file after the other
            now, size = map(float, raw.groups())
            if now < self._current or size != self._size:
                self._before += self._current
            self._current, self._size = now, size
            self._report()
        elif begun := re.match(r"\s*Downloading (\S+) \((\d{1,9}\.?\d{0,9})([KMG])iB\)", line):  # uv, several at a time
            self._sizes[begun[1]] = float(begun[2]) * 2.0 ** {"K": 10, "M": 20, "G": 30}[begun[3]]
        elif ended := re.match(r"\s*Downloaded (\S+)", line):
            self._before += self._sizes.pop(ended[1], 0.0)
            self._report()
        elif self.is_last and line.startswith(("Installing collected", "Prepared ")):
            self._fraction = _UNPACK_BEGINS
            protocol.send(protocol.Progress("unpack", 0, 1, _UNPACK_BEGINS))
        return raw is not None

    def _report(self) -> None:
        done = self._before + self._current
        total = max(self._expected, done + sum(self._sizes.values()), self._before + self._size)
        left = (time.monotonic() - self._begun) * (total - done) / done if done > _ETA_FROM * _MB else None
        fraction = _DOWNLOAD_BEGINS + (_UNPACK_BEGINS - _DOWNLOAD_BEGINS) * done / max(total, 1.0)
        self._fraction = max(self._fraction, fraction)  # a larger download than expected, or another attempt
        protocol.send(protocol.Progress("download (MB)", round(done / _MB), round(total / _MB), self._fraction, left))


def _home(folder: Path) -> str:
    """The folder of the Python that an environment was made from (PEP 405)."""
    home = re.search(r"^home\s*=\s*(.+)$", (folder / "pyvenv.cfg").read_text("utf-8"), re.MULTILINE)
    return home[1].strip() if home else ""


def check(python: Path, begins: float = 0.0) -> int:
    """Run the worker's self-test and pass on its messages; its exit code. Raises WorkerError if that is no Python.

    ``begins``: the fraction of the work that is done before.
    """
    python_environment.probe(python)
    command = python_environment.self_test_command(python)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as self_test:
        assert self_test.stdout is not None
        while line := self_test.stdout.readline(limits.MESSAGE_BYTES):
            message = protocol.decode(line)
            if isinstance(message, protocol.Progress):
                message = replace(message, fraction=begins + (1 - begins) * message.fraction)
            protocol.send(message)
    return self_test.returncode


def _move(folder: Path) -> None:
    last_report = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last_report
        if done == total or time.monotonic() > last_report + _PAUSE:
            last_report = time.monotonic()
            protocol.send(
                protocol.Progress("move (MB)", round(done / _MB), round(total / _MB), done / total if total else 1.0)
            )

    for left in location.move(folder, progress):
        protocol.send(
            protocol.Warn(
                f"{left} was moved, but the old one cannot be deleted. Close what uses it and move again.",
                code="old-files-not-deletable",
            )
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the command line names; the process's exit code."""
    parser = argparse.ArgumentParser(prog="installer")
    commands = parser.add_subparsers(dest="command", required=True)
    install_options = commands.add_parser("install")
    install_options.add_argument("--base", type=Path, required=True)
    install_options.add_argument("--build", choices=pytorch.WISHES, default="AUTO")
    install_options.add_argument("--wheels", default="")
    install_options.add_argument("--repair", action="store_true")
    install_options.add_argument("--larger", action="store_true")
    install_options.add_argument("--full", action="store_true")
    commands.add_parser("check").add_argument("python", type=Path)
    commands.add_parser("remove")
    commands.add_parser("move").add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        if options.command == "check":
            return check(options.python)
        with location.exclusive():
            if options.command == "install":
                python = install(
                    options.base, options.build, options.wheels, options.repair, options.larger, options.full
                )
                return check(python, _SELF_TEST_BEGINS)
            if options.command == "remove":
                remove()
            else:
                _move(options.folder)
            protocol.send(protocol.Done(str(python_environment.data_folder())))
    except CodedError as problem:
        protocol.send(protocol.Failed(str(problem), problem.code))
        return 1
    except Exception as error:
        traceback.print_exc()
        text = (
            f"The worker could not be installed, checked, moved or removed: {reason(error)}. The log says where it "
            "happened."
        )
        protocol.send(protocol.Failed(text, code="setup-failed"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
