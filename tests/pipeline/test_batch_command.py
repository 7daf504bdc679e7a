"""Batches: which clips are found, with what options; processes that crash or are cancelled; the table of results."""

from __future__ import annotations

import csv
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wham_blender import clip_folder, limits, protocol
from wham_blender.pipeline.batch import clip_list, command, process_pool
from wham_blender.pipeline.batch.clip_list import BatchError, find_clips
from wham_blender.pipeline.batch.clip_worker import FAILED, Outcome, Task, decode
from wham_blender.pipeline.batch.process_pool import Place, ProcessPool, places
from wham_blender.pipeline.options import arguments_of, job_parser

STUB = (sys.executable, "-I", Path(__file__).with_name("stub_worker.py"))
OUT = Path("/out")
Batch = Callable[..., tuple[int, list[protocol.Message], list[dict[str, str]]]]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_clips_come_from_paths_patterns_and_folders_each_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/walk.mp4", "a/._walk.mp4", "a/run.MOV", "a/notes.txt", "a/shot_01.png", "a/shot_02.png",
          "b/walk.mp4", "b/c/jump.mkv")  # fmt: skip
    found = find_clips(
        [str(tmp_path / "a"), str(tmp_path / "a/walk.mp4"), str(tmp_path / "b/**/*.mkv"), str(tmp_path / "gone.mp4")],
        OUT,
    )
    names = ["run.MOV", "shot_01.png", "walk.mp4", "jump.mkv", "gone.mp4"]
    assert [each.clip.name for each in found] == names
    assert [each.output for each in found] == [OUT / f"{Path(name).stem}.npz" for name in names]
    both = find_clips([str(tmp_path / "a/walk.mp4"), str(tmp_path / "b/walk.mp4")], OUT)
    assert len({each.output.name.casefold() for each in both}) == 2
    assert all(each.output.name.startswith("walk-") for each in both)


def test_lists_give_each_clip_its_options(tmp_path: Path) -> None:
    (tmp_path / "takes.csv").write_text("\ufeffclip,person,hands,focal-length\nwalk.mp4,ALL,no,\n\nrun.mp4,2,,35\n")
    (tmp_path / "takes.jsonl").write_text('{"clip": "jump.mp4", "end": 90, "refine": false}\n\n{"clip": "/x/y.mp4"}\n')
    found = find_clips([str(tmp_path / "takes.csv"), str(tmp_path / "takes.jsonl")], OUT)
    assert [(each.clip, each.arguments) for each in found] == [
        (tmp_path / "walk.mp4", ("--person=ALL", "--no-hands")),
        (tmp_path / "run.mp4", ("--person=2", "--focal-length=35")),
        (tmp_path / "jump.mp4", ("--end=90", "--no-refine")),
        (Path("/x/y.mp4"), ()),
    ]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.csv", "path\nwalk.mp4\n", "The list t.csv is no CSV file of clips: its first line must name the columns"),
        ("t.csv", "clip,end\nwalk.mp4,90\nrun.mp4,last\n", "Line 3 of t.csv is wrong: argument --end: last is no"),
        ("t.csv", "clip,end\nwalk.mp4,90,1\n", "The list t.csv is no CSV file of clips: line 2 has 3 cells"),
        ("t.csv", "clip,output\nwalk.mp4,/etc/passwd\n", "Line 2 of t.csv is wrong: output is no option"),
        ("t.csv", "clip,hands\nwalk.mp4,maybe\n", "Line 2 of t.csv is wrong: hands is neither true nor false"),
        ("t.csv", 'clip\n"walk.mp4\n', "The list t.csv is no CSV file of clips: unexpected end of data"),
        ("t.jsonl", '{"clip": "a.mp4"}\n{"clip": [1]}\n', "Line 2 of t.jsonl is wrong: it names no clip"),
        ("t.jsonl", "[" * 99_999, "Line 1 of t.jsonl is wrong: it has more than 50000 values"),
        ("t.csv", b"clip\n\xff.mp4\n", "The list t.csv cannot be read: it is not UTF-8 text"),
        ("t.csv", "clip\na\0.mp4\n", "Line 2 of t.csv is wrong: a path holds a null character"),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_wrong_list_is_a_sentence_with_the_line(name: str, text: str | bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BatchError) as refused:
        find_clips([str(tmp_path / name)], OUT)
    assert str(refused.value).startswith(says), refused.value


def test_what_is_too_large_or_empty_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "empty/notes.txt", "long.csv")
    monkeypatch.setattr(limits, "BATCH_CLIPS", 1)
    monkeypatch.setattr(limits, "BATCH_LIST_BYTES", 3)
    for named, code in (
        ("*.mp4", "batch-too-large"),
        ("long.csv", "clip-list-unreadable"),
        ("*.mov", "clip-pattern-empty"),
    ):
        with pytest.raises(BatchError) as refused:
            find_clips([str(tmp_path / named)], OUT)
        assert refused.value.code == code
    with pytest.raises(clip_folder.ClipFolderError) as empty:
        find_clips([str(tmp_path / "empty")], OUT)
    assert empty.value.code == "clip-folder-empty"


def test_options_go_to_the_processes_as_they_were_given() -> None:
    given = ["--person=ALL", "--start=3", "--speed=2.5", "--no-hands", "--no-refine", "--smplh", "--camera=static"]
    parsed = job_parser(None).parse_args(["a.mp4", "-o", "a.npz", *given])
    assert sorted(arguments_of(parsed)) == sorted(given)


def test_processes_share_memory_cores_and_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    known = process_pool.processors
    monkeypatch.setattr(known, "processor_cores", lambda: 8)
    monkeypatch.setattr(known, "available_memory", lambda: 7 * limits.GB)
    monkeypatch.setattr(known, "free_card_memory", lambda: [20 * limits.GB, 9 * limits.GB, limits.GB])
    assert places(None, 100, uses_cards=False) == [Place(2)] * 3  # as much as memory allows
    assert places(None, 2, uses_cards=False) == [Place(4)] * 2
    assert places(16, 100, uses_cards=False) == [Place(1)] * 16
    assert places(None, 100, uses_cards=True) == [Place(2, 0), Place(2, 1), Place(2, 0)]
    assert Place(2, 1).environment()["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Batch:
    """Runs a batch with processes that stand in for the worker's; returns exit code, messages and table."""
    monkeypatch.setattr(command, "ProcessPool", lambda where, log: ProcessPool(where, log, STUB))
    monkeypatch.setattr(command, "handle_cancel_signals", lambda _: None)

    def run(folder: Path, *arguments: str) -> tuple[int, list[protocol.Message], list[dict[str, str]]]:
        code = command.main([*arguments, "-o", str(folder), "--json"])
        messages = [protocol.decode(line) for line in capfd.readouterr().out.splitlines()]
        with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
            return code, messages, list(csv.DictReader(stream))

    return run


def test_a_batch_goes_on_after_faults_and_crashes(tmp_path: Path, batch: Batch) -> None:
    clips = touch(tmp_path / "in", "a.mp4", "b_crash.mp4", "c_damaged.mp4", "=d.mp4", "e.mp4")
    code, messages, rows = batch(tmp_path / "out", str(clips), "--processes=2", "--person=ALL")
    assert code == 1
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed", "done"]
    assert [row["motion"] for row in rows] == ["'=d.npz", "a.npz", "", "", "e.npz"]  # a spreadsheet runs no formula
    assert [row["error"] for row in rows] == ["", "", "batch-process-ended", "clip-unreadable", ""]
    assert "The process that worked on b_crash.mp4 ended by itself (signal 9)" in rows[2]["sentence"]
    assert {path.name for path in (tmp_path / "out").glob("*.npz")} == {"=d.npz", "a.npz", "e.npz"}
    words = (tmp_path / "out/a.npz").read_text().split(maxsplit=2)
    assert words[2] == "--person=ALL"
    assert [m.code for m in messages if isinstance(m, protocol.Warn)].count("batch-process-ended") == 1
    progress = [m for m in messages if isinstance(m, protocol.Progress)]
    assert (progress[-1].done, progress[-1].total, progress[-1].fraction) == (5, 5, 1)
    assert messages[-1] == protocol.Done(str(tmp_path / "out/results.csv"))
    assert protocol.Log("3 clips are done, 0 were done before, 2 failed.") in messages


def test_one_process_runs_many_clips(tmp_path: Path, batch: Batch) -> None:
    clips = touch(tmp_path / "in", *(f"{number}.mp4" for number in range(4)))
    code, _, rows = batch(tmp_path / "out", str(clips), "--processes=1")
    assert code == 0
    assert sorted(int(row["frames"]) for row in rows) == [1, 2, 3, 4]  # counted in one process
    assert len({(tmp_path / f"out/{number}.npz").read_text().split()[0] for number in range(4)}) == 1


def test_damaged_clips_cost_their_own_results_only(tmp_path: Path, batch: Batch) -> None:
    names = [f"{number:02}{'_damaged' if number % 10 == 3 else ''}.mp4" for number in range(100)]
    code, messages, rows = batch(tmp_path / "out", str(touch(tmp_path / "in", *names)), "--processes=2")
    assert code == 1
    assert [row["status"] for row in rows] == ["failed" if "damaged" in name else "done" for name in names]
    assert len(list((tmp_path / "out").glob("*.npz"))) == 90
    sentences = [f"{name} is no video." for name in names if "damaged" in name]
    assert [row["sentence"] for row in rows if row["sentence"]] == sentences
    assert sorted(message.text for message in messages if isinstance(message, protocol.Warn)) == sentences


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_cancelled_batch_ends_its_processes_and_keeps_what_is_finished(tmp_path: Path, batch: Batch) -> None:
    clips = touch(tmp_path / "in", "a.mp4", "b_slow.mp4")
    out = tmp_path / "out"
    pools: list[ProcessPool] = []
    real = ProcessPool.run

    def cancel() -> None:
        while not (out / "a.npz").exists() or not (out / "results.csv").read_text().count("a.npz"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    def run(pool: ProcessPool, tasks: list[Task], report: process_pool.Report) -> Iterator[tuple[int, Outcome]]:
        pools.append(pool)
        threading.Thread(target=cancel, daemon=True).start()
        return real(pool, tasks, report)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in what they run behind
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ProcessPool, "run", run)
            code, messages, rows = batch(out, str(clips), "--processes=2")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert isinstance(messages[-1], protocol.Failed)
    assert messages[-1].code == "cancelled"
    assert [row["motion"] for row in rows] == ["a.npz"]
    assert all(lane.process is None or lane.process.wait(5) is not None for lane in pools[0]._lanes)


def test_a_line_is_an_outcome_only_if_it_is_whole() -> None:
    outcome = Outcome(FAILED, 1.5, code="x", sentence="It failed.")
    assert decode(outcome.line()) == outcome
    assert isinstance(decode(outcome.line().replace("1.5", "-1")), protocol.Log)
    assert isinstance(decode('{"type": "Outcome"}'), protocol.Log)
    assert clip_list.BatchClip(Path("gone"), (), OUT).size == 0


def test_the_documented_recipe_works(tmp_path: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs/batch.md").read_text("utf-8")
    (line,) = re.findall(r"^python .*wham_blender\.pipeline batch (takes .*)$", text, re.MULTILINE)
    (table,) = re.findall(r"^```\n(clip,.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "takes", "walk.mp4", "fight/take_03.mov")
    clips, _, folder, *options = line.split()
    code, _, rows = batch(Path(folder), clips, *options)
    assert (code, [row["motion"] for row in rows]) == (0, ["walk.npz"])
    (tmp_path / "takes/list.csv").write_text(table)
    code, _, rows = batch(Path("listed"), "takes/list.csv")
    assert (code, [row["motion"] for row in rows]) == (0, ["walk.npz", "take_03.npz"])
    assert (tmp_path / "listed/take_03.npz").read_text().endswith(" --person=2 --end=240 --no-hands")


def test_a_missing_ray_is_a_sentence(tmp_path: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    touch(tmp_path, "a.mp4")
    code, messages, rows = batch(tmp_path / "out", str(tmp_path), "--ray=auto")
    assert (code, rows) == (1, [])
    assert isinstance(messages[-1], protocol.Failed)
    assert messages[-1].code == "ray-missing"
