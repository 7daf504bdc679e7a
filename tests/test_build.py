"""build.py: environments are whole or made again, tests are counted and sent to the right Python, the zip is right."""

import json
import os
import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bench.report import report

import build
from wham_blender import weights


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An environment that holds nothing, in a cache of its own."""
    monkeypatch.setattr(build, "environments_folder", lambda: tmp_path / "envs")
    requirements = tmp_path / "tiny.txt"
    requirements.write_text("# nothing\n")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setitem(build.ENVIRONMENTS, "tiny", build.Environment((requirements,), (version,)))
    return "tiny"


def script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def folders() -> list[Path]:
    return [path for path in build.environments_folder().iterdir() if path.is_dir()]


class TestEnvironments:
    def test_made_once_though_two_ask_at_once(self, tiny, capsys):
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(build.environment, [tiny, tiny])
        assert first == second
        assert capsys.readouterr().out.count("making the environment") == 1
        assert subprocess.run([first, "-c", "import pip"], check=False).returncode == 0

    def test_a_half_made_one_is_made_again_and_a_whole_one_is_kept(self, tiny, capsys):
        build.environment(tiny)
        (folder,) = folders()
        (folder / "mine").touch()
        build.environment(tiny)
        assert (folder / "mine").exists()
        (folder / "complete").unlink()
        build.environment(tiny)
        assert not (folder / "mine").exists()
        assert (folder / "complete").exists()

    def test_other_requirements_are_another_environment(self, tiny):
        before = build.environment(tiny)
        build.ENVIRONMENTS[tiny].files[0].write_text("# something else\n")
        assert build.environment(tiny) != before
        assert before.exists()

    def test_one_that_pip_cannot_make_is_not_taken_for_made(self, tiny):
        build.ENVIRONMENTS[tiny].files[0].write_text("./no-such-folder\n")
        with pytest.raises(build.BuildError, match="pip could not make"):
            build.environment(tiny)
        assert not list(build.environments_folder().glob("*/complete"))

    def test_an_unknown_python_is_a_sentence(self, tiny, monkeypatch):
        monkeypatch.setitem(build.ENVIRONMENTS, tiny, build.Environment((), ("2.0",)))
        with pytest.raises(build.BuildError, match=r"needs Python 2\.0"):
            build.environment(tiny)

    @pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for uv and its Python")
    def test_a_python_that_is_missing_is_installed_by_uv(self, tmp_path, monkeypatch):
        python = tmp_path / "python"
        script(tmp_path / "uv", f'test "$2" = install && touch {python}.there\ntest -e {python}.there && echo {python}')
        script(python, f"echo 2.1 {python}")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert build.find_python("2.1") == python

    def test_without_a_python_for_it_blender_says_which_to_install(self, monkeypatch):
        monkeypatch.setattr(build, "find_python", lambda version: None)
        with pytest.raises(build.BuildError, match=r"exactly Python 3\.11 or 3\.13"):
            build.blender()

    def test_every_requirement_is_pinned(self):
        for path in {path for spec in build.ENVIRONMENTS.values() for path in spec.files}:
            lines = [line for line in path.read_text("utf-8").splitlines() if line and line[0] not in "# "]
            assert lines
            assert not [line for line in lines if "==" not in line], path

    def test_the_workers_packages_are_locked_with_hashes(self):
        lock = (build.WORKER_PACKAGE / "requirements.txt").read_text("utf-8")
        entries = re.findall(r"^[\w.-]+==.*\\\n(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", lock, re.MULTILINE)
        assert len(entries) == len(re.findall("==", re.sub(" ; .*", "", lock))) > 50
        names = ("requirements.in", "requirements-full.in")
        wanted, full = ((build.WORKER_PACKAGE / name).read_text("utf-8") for name in names)
        found = re.findall(r"^\S+==\S+", wanted + full, re.MULTILINE)
        assert len(found) > 10
        assert set(found) <= {entry.split()[0] for entry in entries}
        only_full = set((build.WORKER_PACKAGE / "full_packages.txt").read_text("utf-8").split())
        assert only_full >= set(re.findall(r"^([\w.-]+)==", full, re.MULTILINE))
        assert not only_full & set(re.findall(r"^([\w.-]+)==", wanted, re.MULTILINE))
        assert only_full <= {entry.split("==")[0] for entry in entries}


LONG = ["tests/end_to_end", "tests/training", "tests/fuzz"]
EVERYTHING = ["tests", *(f"--ignore={build.ROOT}/{name}" for name in ("tests/addon", "tests/gui", *LONG))]


class TestSuites:
    @pytest.mark.parametrize(
        ("arguments", "worker", "gui", "addon"),
        [
            ([], EVERYTHING, ["tests/gui"], ["tests/addon"]),
            (["-k", "rig"], [*EVERYTHING, "-k", "rig"], ["tests/gui", "-k", "rig"], ["tests/addon", "-k", "rig"]),
            (["tests", "-x"], [*EVERYTHING, "-x"], ["tests/gui", "-x"], ["tests/addon", "-x"]),
            (["tests/test_build.py::TestSuites"], ["tests/test_build.py::TestSuites"], [], []),
            (["tests/addon", "-x"], [], [], ["tests/addon", "-x"]),
            (
                ["tests/addon/test_new.py", "tests/gui/test_new.py"],
                [],
                ["tests/gui/test_new.py"],
                ["tests/addon/test_new.py"],
            ),
        ],
    )
    def test_arguments_reach_the_suite_that_owns_the_paths(self, monkeypatch, arguments, worker, gui, addon):
        monkeypatch.chdir(build.ROOT)

        def absolute(names):
            return [str(build.ROOT / name) if name.startswith("tests") else name for name in names]

        whole = worker[: len(EVERYTHING)] == EVERYTHING
        long = [*LONG, *worker[len(EVERYTHING) :]] if whole else []
        expected = {"worker": worker, "long": long, "gui": gui, **dict.fromkeys(build.BLENDERS, addon)}
        expected = {name: absolute(words) for name, words in expected.items()}
        assert build.suite_arguments(arguments) == {name: words for name, words in expected.items() if words}

    @pytest.mark.parametrize(
        ("content", "status", "expected"),
        [
            ('<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3"/></testsuites>', 1, (3, 3, 3)),
            ('<testsuites><testsuite tests="4" failures="0" errors="0" skipped="0"/></testsuites>', 0, (4, 0, 0)),
            ('<testsuites><testsuite tests="4" failures="0" errors="0" skipped="0"/></testsuites>', -11, (4, 1, 0)),
            (None, 4, (0, 1, 0)),
            (None, build.NOTHING_SELECTED, (0, 0, 0)),
        ],
    )
    def test_counting(self, tmp_path, content, status, expected):
        if content:
            (tmp_path / "report.xml").write_text(content)
        assert build.tally(tmp_path / "report.xml", status) == build.Tally(*expected)

    def test_a_failing_test_fails_the_command(self, tmp_path):
        bad = tmp_path / "test_bad.py"
        bad.write_text("def test_good(): pass\ndef test_bad(): assert False\n")
        done = command("test", str(bad))
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, build.ROOT / "build.py", *arguments], capture_output=True, text=True, check=False
    )


def test_help_and_wrong_words_are_answered():
    assert command("--help").returncode == 0
    assert command("nonsense").returncode == 2
    assert command("zip", "extra").returncode == 2
    assert "build.py demo" in command().stdout
    assert command("train", "everything").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        (
            ("--mocap", "mine", "--minutes", "5"),
            [
                "body",
                *(
                    f"{step} --mocap {{0}}/mine --minutes 5"
                    for step in ("filmed", "drawn", "lifter", "temporal", "wham", "contacts")
                ),
                "hands",
            ],
        ),
        ((), ["body", "filmed", "drawn", "lifter", "temporal", "wham", "contacts", "hands"]),
        (("lifter", "--mocap", "mine", "more"), ["lifter --mocap {0}/mine {0}/more"]),
    ],
)
def test_training_takes_all_steps_unless_one_is_named(monkeypatch, tmp_path, arguments, commands):
    ran = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "environment", lambda name: Path("python"))
    monkeypatch.setattr(build, "run", lambda command, folder: ran.append((command[2:], folder)))
    assert build.train(*arguments) == 0
    expected = [f"tools.training.{line}".format(tmp_path).split() for line in commands]
    assert ran == [(command, build.ROOT) for command in expected]


def test_benches_are_listed():
    done = command("bench")
    assert done.returncode == 0
    assert "report" not in done.stdout
    assert command("bench", "no-such-bench").returncode == 1


def test_a_bench_of_the_add_on_runs_in_each_blender(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(build, "find_python", lambda version: version == "3.11" or None)
    monkeypatch.setattr(build, "blender", lambda name: Path(name))
    monkeypatch.setattr(build, "run", lambda command: ran.append(command))
    assert build.bench("import", "--json", str(tmp_path / "figures.json")) == 0
    script = build.ROOT / "tests/bench/addon/import.py"
    names = ("bpy-4.5.15", "bpy-4.2.23", "bpy-5.0.1")
    assert ran == [[Path(name), script, "--json", str(tmp_path / f"figures-{name}.json")] for name in names]


def test_zip_has_everything_at_its_root_and_nothing_else(tmp_path):
    (tmp_path / "wham_blender-0.0.1.zip").touch()
    done = command("zip", "--repository", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("*.zip")  # the one of another version is among the earlier ones
    (listed,) = json.loads((tmp_path / "index.json").read_text("utf-8"))["data"]
    assert (tmp_path / listed["archive_url"]).samefile(archive)
    names = set(zipfile.ZipFile(archive).namelist())
    assert names >= {"blender_manifest.toml", "__init__.py", "motion.py", "LICENSE", "NOTICE.md"}
    documents = {f"docs/{path.name}" for path in (build.ROOT / "docs").glob("*.md")}
    assert {name for name in names if name.startswith("docs/")} == documents != set()
    assert names >= {
        "pipeline/requirements.txt",
        "pipeline/full_packages.txt",
        "pipeline/self_test.mp4",
        "bundled_weights/manifest.toml",
    }
    assert names >= {f"bundled_weights/{entry.path.name}" for entry in weights.manifest().values()}
    assert not [name for name in names if name.startswith("wham_blender/") or "__pycache__" in name or "tests" in name]


def test_report_prints_a_table_and_writes_the_figures(tmp_path, capsys):
    report("Speed", ["clip", "fps"], [["walk", 12.34567], ["run", None]], tmp_path / "speed.json")
    assert capsys.readouterr().out == "Speed\nclip    fps\nwalk  12.35\nrun       -\n"
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written == {"title": "Speed", "rows": [{"clip": "walk", "fps": 12.34567}, {"clip": "run", "fps": None}]}
    with pytest.raises(ValueError, match="zip"):
        report("Speed", ["clip", "fps"], [["walk"]])
