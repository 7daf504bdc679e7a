"""The worker's command on a farm: by Open Job Description's own program, what it prints and what it leaves behind."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

import build
from wham_blender import farm_status, motion, protocol, records
from wham_blender.farm_status import FarmStatus
from wham_blender.pipeline import farm_job
from wham_blender.pipeline.options import job_parser

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "wham_blender/farm/template.json"
CLIP = ROOT / "tests/clips/balance_cam01.mp4"
PERSON = protocol.FoundPerson(1, 1, 9, 9, 0.5, "person-1.png")


def openjd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = build.environment("farm").parent / "openjd"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=600)


def run_template(clip: Path, folder: Path, **parameters: str) -> subprocess.CompletedProcess[str]:
    """Run the template's step on this machine, as Deadline Cloud's workers do."""
    values = {"Clip": clip, "OutputFolder": folder, "Python": sys.executable, "AddonFolder": ROOT / "wham_blender"}
    values |= parameters
    return openjd("run", TEMPLATE, *(word for name, value in values.items() for word in ("-p", f"{name}={value}")))


def test_the_template_is_valid() -> None:
    done = openjd("check", TEMPLATE)
    assert done.returncode == 0, done.stdout


def test_a_clip_becomes_a_motion(tmp_path: Path) -> None:
    folder = tmp_path / "a job's folder"
    done = run_template(
        CLIP, folder, Quality="fast", Start="3", End="8", Options="--camera static --no-refine --no-hands"
    )
    assert done.returncode == 0, done.stdout
    assert "openjd_progress: 100.0" in done.stdout
    assert "openjd_status: detect" in done.stdout
    (person,) = motion.load(folder / farm_status.MOTION)
    assert person.frame.tolist() == [3, 4, 5, 6, 7, 8]
    status = farm_status.load(folder)
    assert status is not None
    assert status.done
    assert status.failed is None
    assert status.people is not None
    assert all((folder / (each.picture or "-")).is_file() for each in status.people.people)


def test_a_failure_fails_the_task_and_leaves_its_sentence(tmp_path: Path) -> None:
    done = run_template(CLIP, tmp_path / "job", Person="nobody")  # refused before torch is imported
    assert done.returncode != 0
    assert "openjd_fail: " in done.stdout
    status = farm_status.load(tmp_path / "job")
    assert status is not None
    assert status.failed is not None
    assert status.failed.code == "option-invalid"
    assert not status.done


@pytest.mark.parametrize("end", ["0", "8"])
def test_the_command_is_that_of_one_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    asked: list[str] = []

    def run_clip(arguments: list[str], tell: object) -> int:
        asked.extend(arguments)
        return 7

    monkeypatch.setattr(farm_job, "run_clip", run_clip)
    corrections = tmp_path / "corrections.json"
    if end == "8":
        corrections.write_text("{}")
    options = "--options=--focal-length 26 -o 'else where.npz'"
    assert farm_job.main(["walk.mp4", str(tmp_path), "--person=2", f"--end={end}", options]) == 7
    options_of_worker = job_parser(None).parse_args(asked)
    assert (options_of_worker.person, options_of_worker.focal_length) == (2, 26.0)
    assert options_of_worker.end == (None if end == "0" else 8)
    assert options_of_worker.output == tmp_path / farm_status.MOTION  # whatever the options say
    assert options_of_worker.corrections == (corrections if end == "8" else None)
    assert options_of_worker.clip.name == "walk.mp4"


def test_wrong_options_are_a_sentence_in_the_job_s_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ("--options='", "--options=--camera upside"):
        with contextlib.suppress(SystemExit):  # as argparse ends
            assert farm_job.main(["walk.mp4", str(tmp_path), options]) == 1
        status = farm_status.load(tmp_path)
        assert status is not None
        assert status.failed is not None
        assert status.failed.text.startswith("The worker refused an option: ")
        assert capsys.readouterr().out.startswith("openjd_fail: The worker refused an option: ")


def test_what_a_job_says_is_kept_and_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell = farm_job.Reporter(tmp_path / "job")
    kept = FarmStatus(
        progress=protocol.Progress("detect", 5, 10, 0.25), clip=protocol.Clip("00ff"),
        environment=protocol.Environment("Python 3.11"), people=protocol.People([PERSON]),
        warnings=[protocol.Warn("Dark.", "dark")], done=True,
    )  # fmt: skip
    said = [kept.environment, kept.clip, kept.progress, protocol.Progress("detect", 6, 10, 0.3), kept.people]
    for message in (*said, protocol.Log("a line\x1b"), *kept.warnings, protocol.Done("/farm/motion.npz")):
        assert message is not None
        tell(message)
    assert farm_status.load(tmp_path / "job") == kept
    assert capsys.readouterr().out.splitlines() == [
        "Python 3.11", "openjd_progress: 25.0", "openjd_status: detect 5 of 10", "People: 1", "a line?", "Dark.",
        "openjd_progress: 100.0", "Wrote /farm/motion.npz",
    ]  # fmt: skip


def test_a_storage_that_is_away_does_not_end_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farm_job.time, "sleep", lambda _: (tmp_path / "job").unlink(missing_ok=True))
    (tmp_path / "job").touch()  # no folder can be made there
    tell = farm_job.Reporter(tmp_path / "job")
    tell(protocol.Progress("detect", 1, 10, 0.1))
    assert (tmp_path / "job").is_file()
    tell(protocol.Failed("Too dark."))  # waits until the storage is back
    status = farm_status.load(tmp_path / "job")
    assert status is not None
    assert status.failed == protocol.Failed("Too dark.")


def test_a_job_that_has_not_begun_has_no_status_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert farm_status.load(tmp_path) is None
    (tmp_path / farm_status.STATUS).write_text('{"done": "yes"}', "utf-8")
    with pytest.raises(records.InvalidRecord, match="done"):
        farm_status.load(tmp_path)
