"""How far a job is: honest where the machine is known, soon honest where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wham_blender.pipeline.progress import JobProgress, StageRates
from wham_blender.protocol import Message, Progress

Told = list[tuple[float, Progress]]


def work(
    path: Path, seconds: dict[str, float], frames: int = 300, kept: tuple[str, ...] = (), total: int | None = None
) -> Told:
    """A job whose stages take so many seconds a frame; what it tells, each with the time at which it does."""
    told: Told = []
    now = 100.0

    def tell(message: Message) -> None:
        assert isinstance(message, Progress)
        told.append((now - 100, message))

    pace = JobProgress(StageRates(path, "cpu draft"), tell, lambda: now)
    pace.expect(seconds, frames)
    for stage, each in seconds.items():
        pace.begin(stage)
        for done in range(0 if stage in kept else frames):
            now += each
            pace.update(done + 1, frames if total is None else total)
        pace.finish(stage in kept)
    return told


STAGES = {"detect": 0.05, "tracks": 0.0002, "wham": 0.03, "placement": 0.004}


def test_a_stage_that_begins_twice_takes_its_time_once(tmp_path: Path) -> None:
    """A job tells its first stage before its cache begins it."""
    told: list[Message] = []
    progress = JobProgress(StageRates(tmp_path / "rates.json", "cpu draft"), told.append, lambda: 0.0)
    progress.expect(STAGES, 300)
    progress.begin("detect")
    progress.begin("detect")
    progress.finish()
    (message,) = told
    assert isinstance(message, Progress)
    shipped = {stage: StageRates(tmp_path / "none.json", "")[stage] for stage in STAGES}
    assert message.fraction == pytest.approx(shipped["detect"] / sum(shipped.values()))


def test_on_a_known_machine_the_bar_goes_evenly_and_the_time_left_is_right(tmp_path: Path) -> None:
    for _ in range(2):
        told = work(tmp_path / "rates.json", STAGES)
    whole = told[-1][0]
    for now, message in told:
        assert message.seconds_left is not None
        assert message.fraction == pytest.approx(now / whole, abs=0.01)
        assert message.seconds_left == pytest.approx(whole - now, abs=0.02 * whole)
    assert told[-1][1].fraction == 1
    assert told[-1][1].seconds_left == 0


@pytest.mark.parametrize("slower", [0.2, 3.0])
def test_on_an_unknown_machine_the_time_left_is_soon_right(slower: float, tmp_path: Path) -> None:
    """Three times as slow, or five times as fast, as what ships says, in every stage alike."""
    shipped = {stage: StageRates(tmp_path / "none.json", "")[stage] for stage in STAGES}
    told = work(tmp_path / "rates.json", {stage: slower * rate for stage, rate in shipped.items()}, frames=3000)
    whole = told[-1][0]
    for now, message in told:
        if now > 0.2 * whole:
            assert message.seconds_left == pytest.approx(whole - now, rel=0.25, abs=1)


def test_what_is_kept_counts_as_done_and_says_nothing_of_the_pace(tmp_path: Path) -> None:
    work(tmp_path / "rates.json", STAGES)
    told = work(tmp_path / "rates.json", STAGES, kept=("detect",))
    assert told[0][1].fraction == pytest.approx(0.05 / sum(STAGES.values()), abs=0.01)
    assert told[0][1].seconds_left == pytest.approx(300 * 0.0342, rel=0.05)


def test_the_bar_never_goes_back_where_more_people_are_found_than_thought(tmp_path: Path) -> None:
    told: list[float] = []
    pace = JobProgress(
        StageRates(tmp_path / "rates.json", ""), lambda message: told.append(getattr(message, "fraction", 0.0))
    )
    pace.expect(["detect", "wham"], 100)
    pace.begin("detect")
    pace.finish()
    pace.expect(["wham"], 100000)
    for _ in range(4):
        pace.begin("wham", 0.25)
        pace.finish()
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_a_stage_of_unknown_length_does_not_pretend(tmp_path: Path) -> None:
    told = work(tmp_path / "rates.json", STAGES, total=0)
    first = [message for _, message in told if message.stage == "detect"][:-1]
    assert {(message.total, message.fraction) for message in first} == {(0, 0.0)}
    assert first[-1].done > 250


def test_messages_are_few(tmp_path: Path) -> None:
    told = work(tmp_path / "rates.json", {"detect": 0.001}, frames=5000)
    assert len(told) < 55


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"cpu draft": 3}', '{"cpu draft": {"detect": "fast"}}', '{"cpu draft": {"detect": 1e999}}',
     '{"cpu draft": {"detect": NaN}}', '{"cpu draft": {"detect": 1e300}}', '{"cpu draft": {"detect": -1}}',
     '{"cpu draft": {"detect": 0}}', '{"cpu draft": {"detect": true}}', "[" * 50_000, " " * (1 << 20) + "{}"],
)  # fmt: skip
def test_rates_that_cannot_be_read_are_measured_anew(damage: str, tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text(damage)
    rates = StageRates(tmp_path / "rates.json", "cpu draft")
    rates.learn("detect", 0.5)
    assert StageRates(tmp_path / "rates.json", "cpu draft")["detect"] == 0.5
    assert StageRates(tmp_path / "rates.json", "H100 draft")["detect"] != 0.5  # another machine


def test_a_clock_that_is_too_coarse_leaves_rates_that_can_be_read(tmp_path: Path) -> None:
    StageRates(tmp_path / "rates.json", "cpu draft").learn("tracks", 0.0)
    rates = StageRates(tmp_path / "rates.json", "cpu draft")
    rates.learn("detect", 0.5)
    assert 0 < StageRates(tmp_path / "rates.json", "cpu draft")["tracks"] < 1e-6
    assert StageRates(tmp_path / "rates.json", "cpu draft")["detect"] == 0.5


def test_a_named_pipe_instead_of_rates_does_not_block(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("named pipes are files on POSIX only")
    os.mkfifo(tmp_path / "rates.json")
    assert StageRates(tmp_path / "rates.json", "cpu draft")["detect"] > 0


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    StageRates(tmp_path / "gone" / "rates.json", "cpu draft").learn("detect", 0.5)


def test_large_networks_are_expected_to_take_their_time(tmp_path: Path) -> None:
    small, large = (
        StageRates(tmp_path / "none.json", ""),
        StageRates(tmp_path / "none.json", "", ("yolo", "vitpose", "hmr2")),
    )
    assert large["features"] > 1000 * small["features"]
    assert 0.5 < large["detect"] / large["features"] < 2  # half of the bar each
    assert large["wham"] == small["wham"]
