"""Sets up, builds, tests and demonstrates Import Video as Motion. Standard library only, Python 3.11 or newer.

    python3 build.py demo [CLIP]                  a clip through the worker and into Blender: out/demo
    python3 build.py test [PYTEST ARGUMENTS]      all checks and tests, or those named
    python3 build.py zip [--repository FOLDER]    the extension, validated by Blender: out/wham_blender-VERSION.zip;
                                                  also as a repository, from which Blender installs and updates it
    python3 build.py bench [NAME] [--json FILE]   one measurement as a table; without a name, the list of them
    python3 build.py train [body|filmed|drawn|lifter|temporal|wham|contacts|hands|all] [--mocap DIR ...]
                                                  the open weights

What a command needs beyond Python (torch, Blender as a module, test tools) is installed on its first run into
environments in the user's cache folder, shared by all checkouts. Nothing else on the machine is changed, except that
uv, where it is there, installs a Python that is missing (Blender's module needs exactly 3.11 or 3.13), and that
Debian's packages that Blender needs are installed where this runs as root; there the tests of a real window make a
Debian with a Blender in the cache folder too (tests/gui).
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Timer
from xml.etree import ElementTree

from wham_blender import folders, weights

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "out"
LOCKS = ROOT / "tests/requirements"
WORKER_PACKAGE = ROOT / "wham_blender/pipeline"
DEMO_CLIP = ROOT / "tests/clips/walk_and_jump.mp4"
TRAINING_STEPS = ("body", "filmed", "drawn", "lifter", "temporal", "wham", "contacts", "hands")
_WITHOUT_MOCAP = ("body", "hands")  # training steps that need no motion capture
WINDOWS = sys.platform == "win32"
_LONG_TESTS = ("end_to_end", "training", "fuzz")  # folders of tests: about half of the worker's time
SUITE_LIMIT = 2400  # seconds after which a suite is taken as hanging and killed
GUI_LIMIT = 900

# Shared libraries that Blender's module loads on Linux, and the Debian packages that hold them.
BLENDER_LIBRARIES = {
    "libX11.so.6": ["libx11-6"],
    "libXrender.so.1": ["libxrender1"],
    "libXfixes.so.3": ["libxfixes3"],
    "libXi.so.6": ["libxi6"],
    "libxkbcommon.so.0": ["libxkbcommon0"],
    "libSM.so.6": ["libsm6"],
    "libICE.so.6": ["libice6"],
    "libGL.so.1": ["libgl1"],
    "libEGL.so.1": ["libegl1", "libgl1-mesa-dri"],
}


class BuildError(Exception):
    """A command failed; the text says what happened and what to do."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: requirement files, Python versions, and a base whose packages it also uses."""

    files: tuple[Path, ...]  # requirement files, installed one after the other
    pythons: tuple[str, ...]  # in order of preference
    base: str | None = None


BLENDERS = {"bpy-4.5.15": "3.11", "bpy-4.2.23": "3.11", "bpy-5.0.1": "3.11", "bpy-5.2.3": "3.13"}  # favourite first
ENVIRONMENTS = {
    "worker": Environment(
        (WORKER_PACKAGE / "requirements.txt", LOCKS / "tools.txt"),
        ("3.11", "3.12", "3.13"),
    ),
    "train": Environment((ROOT / "tools/training/requirements.txt",), ("3.11", "3.12", "3.13"), base="worker"),
    "ray": Environment((WORKER_PACKAGE / "requirements-ray.txt",), ("3.11", "3.12", "3.13"), base="worker"),
    "readers": Environment((LOCKS / "readers.txt",), ("3.11", "3.12", "3.13")),
    "farm": Environment((LOCKS / "farm.txt",), ("3.11", "3.12", "3.13")),
    **{name: Environment((LOCKS / f"{name}.txt",), (python,)) for name, python in BLENDERS.items()},
}


# --- environments ----------------------------------------------------------------------------------------------------


def environments_folder() -> Path:
    """The folder of the environments."""
    return folders.cache_folder() / "envs"


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """A lock that one process and thread holds at a time; the others wait.

    SQLite's file lock is the only one in the standard library that works on every platform and ends with its process.
    """
    environments_folder().mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(environments_folder() / f"{name}.lock", timeout=3600, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


def candidates(version: str) -> Iterator[list[str]]:
    """Commands that may start a Python of that version: this one, PATH's, pyenv's, uv's, and one that uv installs."""
    yield [sys.executable]
    yield from ([found] for folder in os.get_exec_path() if (found := shutil.which(f"python{version}", path=folder)))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from ([str(found)] for found in sorted(pyenv.glob(f"{version}.*/bin/python")))
    if WINDOWS:
        yield ["py", f"-{version}"]
    if shutil.which("uv"):
        find = ["uv", "python", "find", version]
        yield from ([line] for line in subprocess.run(find, capture_output=True, text=True).stdout.splitlines())
        subprocess.run(["uv", "python", "install", version], check=False)
        find.append("--managed-python")
        yield from ([line] for line in subprocess.run(find, capture_output=True, text=True).stdout.splitlines())


@cache
def find_python(version: str) -> Path | None:
    """A Python of that version ("3.11") that can make environments, the first of `candidates`."""
    probe = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for candidate in candidates(version):
        try:
            answer = subprocess.run([*candidate, "-c", probe], capture_output=True, text=True, check=False).stdout
        except OSError:
            continue
        if answer.startswith(f"{version} "):
            return Path(answer.split(maxsplit=1)[1].strip())
    return None


def environment(name: str) -> Path:
    """The Python of an environment, which is created first if it is missing or incomplete.

    Raises BuildError if no Python fits or pip fails.
    """
    spec = ENVIRONMENTS[name]
    version, python = next(((v, found) for v in spec.pythons if (found := find_python(v))), ("", None))
    if python is None:
        raise BuildError(
            f"{name} needs Python {' or '.join(spec.pythons)} with its venv module, which was not found. Install it, "
            "or uv (docs.astral.sh/uv), which fetches it; then run the same again."
        )
    base = environment(spec.base) if spec.base else None
    content = "\0".join([version, str(base), *(path.read_text("utf-8") for path in spec.files)])
    folder = environments_folder() / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    executable = folder / ("Scripts/python.exe" if WINDOWS else "bin/python")
    complete = folder / "complete"
    with exclusive(folder.name):
        if not (complete.exists() and executable.exists()):
            print(f"making the environment {name}, once: {folder}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", folder], check=True)
            pip: list[str | Path] = [executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
            if base:
                (site_packages(executable) / "base.pth").write_text(str(site_packages(base)), "utf-8")
                pip.append("--no-deps")  # whatever else they need is in the base
            if any(
                stream([*pip, "-r", path], name, only=("Downloading", "Installing", "ERROR")) for path in spec.files
            ):
                raise BuildError(f"pip could not make the environment {name}; its output is above. Run the same again.")
            complete.touch()
    return executable


def site_packages(python: Path) -> Path:
    """The folder of an environment's packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def blender(name: str | None = None) -> Path:
    """The Python of an environment with Blender as a module; without a name, of the first that this machine can run."""
    if name is None:
        name = next((known for known, python in BLENDERS.items() if find_python(python)), None)
    if name is None:
        raise BuildError(
            f"Blender needs exactly Python {' or '.join(sorted(set(BLENDERS.values())))} with its venv module, "
            "which was not found. Install it, or uv (docs.astral.sh/uv), which fetches it; then run the same again."
        )
    with exclusive("system-libraries"):
        install_blender_libraries()
    return environment(name)


def install_blender_libraries() -> None:
    """Install the shared libraries that Blender's module needs. Raises BuildError with their names if it cannot."""
    if sys.platform != "linux":
        return
    packages = [name for library, names in BLENDER_LIBRARIES.items() if not loads(library) for name in names]
    if not packages:
        return
    wanted = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BuildError(f"Blender needs libraries that this system lacks. Install them (Debian's names): {wanted}")
    print(f"installing {wanted}", flush=True)
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        if stream(["apt-get", "-q", *command], "apt-get", only=("E:", "Setting up")):
            raise BuildError(f"apt-get {command[0]} failed; its output is above. Install by hand: {wanted}")


def loads(library: str) -> bool:
    """Whether the system has a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def run(command: Sequence[str | Path], folder: Path | None = None) -> int:
    """Run a command in ``folder`` or the current one, with this checkout importable; returns its exit status."""
    return subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode


def stream(command: Sequence[str | Path], label: str, only: tuple[str, ...] = ("",), limit: float = 7200) -> int:
    """Run a command in the checkout and print its lines at once, with a label; returns its exit status.

    Only lines that begin with one of ``only`` are printed, and the last hidden ones if the command fails. A command
    that has not ended after ``limit`` seconds is killed.
    """

    def end() -> None:
        print(f"{label:>10} | has not ended after {limit:.0f} s, and is killed", flush=True)
        process.kill()

    hidden = []
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "DEBIAN_FRONTEND": "noninteractive"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout
        watch = Timer(limit, end)
        watch.start()
        for line in process.stdout:
            if line.lstrip().startswith(only):
                print(f"{label:>10} | {line.rstrip()[:160]}", flush=True)
            else:
                hidden.append(line)
        process.wait()
        watch.cancel()
    if process.returncode:
        print("".join(hidden[-60:]), end="", flush=True)
    return process.returncode


# --- commands --------------------------------------------------------------------------------------------------------


def make_zip(*options: str) -> int:
    """Put the manifest, the package's contents and the bundled weights at the root of one validated zip.

    ``--repository FOLDER``: also publish it there.
    """
    if options and (len(options) != 2 or options[0] != "--repository"):
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        shutil.copytree(ROOT / "wham_blender", source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for name in ("blender_manifest.toml", "LICENSE", "NOTICE.md"):
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("*.png", "*.jpg", "*.svg"))
        (source / "bundled_weights").mkdir()
        for name in ("manifest.toml", "calibrations.toml", "README.md"):
            shutil.copy(weights.folder() / name, source / "bundled_weights")
        for role in weights.manifest():
            shutil.copy(weights.find(role).path, source / "bundled_weights")
        built.mkdir()
        blender_ext("validate", source)
        blender_ext("build", "--source-dir", source, "--output-dir", built)
        manifest = tomllib.loads((source / "blender_manifest.toml").read_text("utf-8"))
        target = OUT / f"{manifest['id']}-{manifest['version']}.zip"
        OUT.mkdir(exist_ok=True)
        aside = OUT / f"{target.name}.{os.getpid()}.part"
        shutil.copy(next(built.glob("*.zip")), aside)
        aside.replace(target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, validated by Blender's own command.")
    if options:
        publish(target, Path(options[1]))
    return 0


def blender_ext(*arguments: str | Path) -> None:
    """Run Blender's own command for extensions. Raises BuildError if it fails."""
    script = next(site_packages(blender()).glob("bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    if stream([sys.executable, script, *arguments], "blender_ext"):
        raise BuildError("Blender does not accept the extension; its output is above.")


def publish(archive: Path, repository: Path) -> None:
    """Put the extension's zip into a folder of extensions and write the index that Blender's Get Extensions reads.

    Other extensions in the folder stay. Zips of other versions of this one go to its subfolder ``earlier``: of several
    in an index, Blender would take any.
    """
    (repository / "earlier").mkdir(parents=True, exist_ok=True)
    for path in repository.glob(f"{archive.name.split('-')[0]}-*.zip"):
        if path.name != archive.name:
            path.replace(repository / "earlier" / path.name)
    aside = repository / f".{archive.name}.part"
    shutil.copy(archive, aside)
    aside.replace(repository / archive.name)
    blender_ext("server-generate", "--repo-dir", repository, "--html")
    print(f"{repository}: serve this folder; the repository's address is that of its index.json.")


@dataclass(frozen=True)
class Tally:
    """Numbers of tests by result."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


NOTHING_SELECTED = 5  # pytest's exit status where -k or the folder left nothing to run


def tally(report: Path, status: int) -> Tally:
    """Count the JUnit report of a suite that ended with ``status``; one that crashed or did not start is a failure."""
    tests = bad = skipped = 0
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):  # noqa: S314 - pytest has just written it
            tests += int(suite.get("tests", 0))
            bad += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    return Tally(tests - bad - skipped, max(bad, int(status not in (0, NOTHING_SELECTED))), skipped)


def run_suite(name: str, arguments: list[str]) -> Tally:
    """Run pytest in one environment; if this machine lacks its Python, the suite is skipped with a message."""
    if name in BLENDERS and not find_python(BLENDERS[name]):
        print(f"{name:>10} | skipped: it needs Python {BLENDERS[name]}, which was not found", flush=True)
        return Tally(skipped=1)
    report = OUT / "test" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    needs_ray = name == "long" or any("test_ray.py" in argument for argument in arguments)
    python = blender(name) if name in BLENDERS else environment("ray" if needs_ray else "worker")
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-rs", f"--junitxml={report}", *arguments]
    started = time.monotonic()
    result = tally(report, stream(command, name, limit=GUI_LIMIT if name == "gui" else SUITE_LIMIT))
    print(f"{name:>10} | {result} in {time.monotonic() - started:.0f} s", flush=True)
    return result


def check_code() -> Tally:
    """Run the static checks; each counts as one test."""
    python = environment("worker")
    checks: dict[str, list[str | Path]] = {
        "ruff": [python, "-m", "ruff", "check", "."],
        "format": [python, "-m", "ruff", "format", "--check", "."],
        "mypy": [python, "-m", "mypy"],
        "imports": [python.parent / "lint-imports", "--no-logo"],
    }
    failed = sum(stream(command, name) != 0 for name, command in checks.items())
    return Tally(len(checks) - failed, failed)


def test(*arguments: str) -> int:
    """Run the checks and every suite, or pytest alone on the tests named; two at a time.

    The window's suite, which mostly waits for what the window shows, runs beside them.
    """
    suites = suite_arguments(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads of two suites wait for each other's on two cores
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(1) as beside:
        jobs = [
            (beside if name == "gui" else pool).submit(run_suite, name, pytest_arguments)
            for name, pytest_arguments in suites.items()
        ]
        if not arguments:
            jobs.append(pool.submit(check_code))
        tallies = [job.result() for job in jobs]
    total = Tally(*(sum(getattr(one, field.name) for one in tallies) for field in fields(Tally)))
    if total == Tally():
        raise BuildError("No test was run: nothing matches the arguments.")
    print(total)
    return int(total.failed > 0)


def suite_arguments(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Pytest's arguments for each suite that was asked for.

    tests/addon runs in every Blender as a module, tests/gui by itself since it opens a window, the rest in the worker:
    of all tests, the half of those that run the worker end to end, train or fuzz is a suite beside the others.
    """
    paths = {argument: Path(argument.split("::")[0]) for argument in arguments if not argument.startswith("-")}
    named = {argument: path.resolve() for argument, path in paths.items() if path.suffix == ".py" or path.exists()}
    options = [argument for argument in arguments if argument not in named]
    tests, addon, gui = ROOT / "tests", ROOT / "tests/addon", ROOT / "tests/gui"
    chosen: dict[Path, list[str]] = {tests: [], gui: [], addon: []}
    long: list[str] = []
    if not named or tests in named.values():
        long = [str(tests / name) for name in _LONG_TESTS]
        ignored = [f"--ignore={path}" for path in (addon, gui, *long)]
        chosen = {tests: [str(tests), *ignored], gui: [str(gui)], addon: [str(addon)]}
    else:
        for argument, path in named.items():
            owner = next((folder for folder in (addon, gui) if path.is_relative_to(folder)), tests)
            chosen[owner].append(str(path) + argument[len(argument.split("::")[0]) :])
    suites = {"worker": chosen[tests], "long": long, "gui": chosen[gui], **dict.fromkeys(BLENDERS, chosen[addon])}
    return {name: [*words, *options] for name, words in suites.items() if words}


def demo(clip: str = str(DEMO_CLIP)) -> int:
    """Process a clip with the worker, import the motion in Blender and save the scene with a preview."""
    folder = OUT / "demo"
    motion = folder / "motion.npz"
    folder.mkdir(parents=True, exist_ok=True)
    module = blender()
    if run([environment("worker"), "-m", "wham_blender.pipeline", clip, "-o", motion]):
        raise BuildError(f"No motion could be made of {clip}; the worker's output is above.")
    if run([module, ROOT / "tools/demo_blender.py", motion, Path(clip).resolve(), folder]):
        raise BuildError(f"Blender could not import {motion}; its output is above.")
    names = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(f"Imported {clip} as a character. The files are in {folder}: {names}.")
    return 0


def bench(name: str | None = None, *arguments: str) -> int:
    """Run one script of tests/bench in the worker's environment, or of tests/bench/addon in each Blender; or list them.

    Each Blender writes a JSON file of its own, its name before the ending.
    """
    folder = ROOT / "tests/bench"
    scripts = {path.stem: path for path in sorted(folder.rglob("*.py")) if path.stem not in ("report", "__init__")}
    if name not in scripts:
        print(f"Benches: {', '.join(scripts)}. Run one with: python3 build.py bench NAME [--json FILE]")
        return int(name is not None)
    inside = scripts[name].parent.name == "addon"
    outside = "ray" if name == "scale" else "worker"
    for environ in [each for each in BLENDERS if find_python(BLENDERS[each])] if inside else [outside]:
        python = blender(environ) if inside else environment(environ)
        suffix = f"-{environ}" if inside else ""
        words = [
            str(Path(word).with_stem(Path(word).stem + suffix)) if last == "--json" else word
            for last, word in pairwise(["", *arguments])
        ]
        if run([python, scripts[name], *words]):
            raise BuildError(f"The bench {name} failed in {environ}; its output is above.")
    print(f"Measured {name}.")
    return 0


def absolute_folders(options: Sequence[str]) -> list[str]:
    """Options with the folders after ``--mocap`` made absolute: the training steps run in the checkout."""
    words, name = [], ""
    for word in options:
        name = word if word.startswith("--") else name
        words.append(str(Path(word).resolve()) if name == "--mocap" != word else word)
    return words


def train(*arguments: str) -> int:
    """Run one training step, by default all in order: body, films, pictures, both lifters, WHAM, contacts, hands."""
    step, *options = arguments if arguments and not arguments[0].startswith("-") else ("all", *arguments)
    if step not in (*TRAINING_STEPS, "all"):
        raise BuildError(f"There is no training step {step}. Choose one of: {', '.join(TRAINING_STEPS)}, all.")
    python = environment("train")
    options = absolute_folders(options)
    for module in TRAINING_STEPS if step == "all" else (step,):
        needed = [] if step == "all" and module in _WITHOUT_MOCAP else options
        if run([python, "-m", f"tools.training.{module}", *needed], ROOT):
            raise BuildError(f"Training {module} stopped; its output is above. The same command continues from there.")
    print(f"Trained {step}; the files are in {weights.folder()}.")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {"demo": demo, "test": test, "zip": make_zip, "bench": bench, "train": train}


def main(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    try:
        command = COMMANDS[arguments[0]]
        inspect.signature(command).bind(*arguments[1:])
    except (IndexError, KeyError, TypeError):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"], ["help"]) else 2
    try:
        return command(*arguments[1:])
    except (BuildError, weights.WeightsError) as error:
        print(f"build.py {arguments[0]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
