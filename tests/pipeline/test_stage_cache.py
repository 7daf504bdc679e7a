"""The stage cache refuses what belongs to another key, and keeps nothing of a clip that changes while it is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from wham_blender.files import sha256_of
from wham_blender.pipeline.array_file import ArrayFile, release_pages
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.progress import JobProgress, StageRates
from wham_blender.pipeline.stages import backends, detect
from wham_blender.pipeline.stages.cache import Arrays, StageCache
from wham_blender.pipeline.stages.context import JobContext
from wham_blender.pipeline.stages.job import Job


def stage_cache(folder: Path) -> StageCache:
    def ignore(_message: object) -> None:
        pass

    return StageCache(folder, ignore, JobProgress(StageRates(folder / "rates.json", "test", {}), ignore))


def test_a_result_renamed_to_another_key_is_refused(tmp_path: Path) -> None:
    calls: list[int] = []

    def make(_progress: object) -> Arrays:
        calls.append(1)
        return {"value": np.array(len(calls))}

    first, key = stage_cache(tmp_path).run("detect", ["a"], make)
    again, same = stage_cache(tmp_path).run("detect", ["a"], make)
    assert (int(first["value"]), int(again["value"]), key == same) == (1, 1, True)
    _, other = stage_cache(tmp_path).run("detect", ["b"], make)
    assert other != key
    shutil.copy(tmp_path / f"detect-{key}.npz", tmp_path / f"detect-{other}.npz")
    third, _ = stage_cache(tmp_path).run("detect", ["b"], make)
    assert int(third["value"]) == 3


def test_large_arrays_stay_in_their_file_and_damaged_ones_are_made_again(tmp_path: Path) -> None:
    calls: list[int] = []
    large = np.random.default_rng(0).normal(size=(50_000, 3, 2)).astype(np.float32)

    def make(_progress: object) -> Arrays:
        calls.append(1)
        return {"odd": np.zeros(7, np.uint8), "large": large, "by columns": np.asfortranarray(large[..., 0])}

    def check(arrays: Arrays) -> None:
        assert np.array_equal(arrays["odd"], np.zeros(7))
        for name, value in (("large", large), ("by columns", large[..., 0])):
            release_pages()
            assert np.array_equal(arrays[name], value)
            assert arrays[name].strides == make(0)[name].strides
            assert (arrays[name].flags.aligned, arrays[name].flags.writeable) == (True, name == "by columns")

    found, key = stage_cache(tmp_path).run("detect", [], make)
    check(found)
    calls.clear()
    check(stage_cache(tmp_path).run("detect", [], make)[0])
    assert len(calls) == 2  # of check
    path = tmp_path / f"detect-{key}.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    del found
    path.write_bytes(content)
    calls.clear()
    stage_cache(tmp_path).run("detect", [], make)
    assert len(calls) == 1


def test_a_side_file_of_another_key_is_refused(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "detect-a.crops", "a" * 20)
    with file.writing((2,), np.float32) as append:
        append(np.ones((3, 2), np.float32))
    assert file.is_complete()
    other = ArrayFile(tmp_path / "detect-b.crops", "b" * 20)
    shutil.copy(file.path, other.path)
    assert not other.is_complete()
    assert not ArrayFile(tmp_path / "none.crops", "c" * 20).is_complete()


def test_nothing_is_kept_of_a_clip_that_is_exchanged_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "walk.mp4"
    shutil.copy(Path(detect.__file__).parents[1] / "self_test.mp4", clip)
    process_clip = detect.process_clip

    def exchange(*arguments: object) -> object:
        found = process_clip(*arguments)  # type: ignore[arg-type]
        before = clip.stat()
        content = clip.read_bytes()
        clip.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
        return found

    monkeypatch.setattr(detect, "process_clip", exchange)
    cache = stage_cache(tmp_path / "job")
    job = Job(clip, tmp_path / "motion.npz")
    backend, device = backends.choose("fast", "cpu"), "cpu"
    info, digest = video_reader.probe(clip), sha256_of(clip)
    context = JobContext(job, info, digest, "", backend, device, cache, lambda _message: None)
    with pytest.raises(PipelineError, match="was changed while it was read"):
        detect.detect_people(context)
    assert not [path.name for path in (tmp_path / "job").iterdir() if path.name.startswith("detect")]


def test_a_stage_is_made_again_whatever_is_damaged(tmp_path: Path) -> None:
    """Each flipped bit gives the same arrays, or the stage runs again: no error, and no other arrays."""
    expected = {"value": np.arange(40.0), "name": np.array("walk")}
    calls: list[int] = []

    def make(_progress: object, file: ArrayFile) -> Arrays:
        calls.append(1)
        with file.writing((3,), np.float32) as append:
            append(np.arange(30, dtype=np.float32).reshape(10, 3))
        return expected

    _, key, side = stage_cache(tmp_path).run_with_file("detect", ["a"], "crops", make)
    random = np.random.default_rng(0)
    for path in (tmp_path / f"detect-{key}.npz", side.path):
        whole = path.read_bytes()
        made = 0
        for place in random.integers(0, len(whole), 150):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            calls.clear()
            arrays, _, found = stage_cache(tmp_path).run_with_file("detect", ["a"], "crops", make)
            assert all(np.array_equal(arrays[name], value) for name, value in expected.items())
            assert np.array_equal(found.read((3,), np.float32), np.arange(30).reshape(10, 3))
            made += len(calls)
        assert made > 70
        path.write_bytes(whole[: len(whole) // 2])
        calls.clear()
        stage_cache(tmp_path).run_with_file("detect", ["a"], "crops", make)
        assert calls


def test_a_file_that_another_job_has_mapped_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where such a file cannot be replaced; where there is none, the sentence says what failed."""
    refuse = lambda *_: (_ for _ in ()).throw(PipelineError("no", code="write-failed"))  # noqa: E731

    monkeypatch.setattr("wham_blender.pipeline.stages.cache.save", refuse)
    with pytest.raises(PipelineError, match="no"):
        stage_cache(tmp_path).run("wham", ["a"], lambda _: {"value": np.arange(3)})
    found = iter([None, {"value": np.arange(3)}, {"value": np.arange(3)}])
    monkeypatch.setattr("wham_blender.pipeline.stages.cache._load", lambda *_: next(found))
    arrays, _ = stage_cache(tmp_path).run("wham", ["b"], lambda _: {"value": np.arange(3)})
    assert np.array_equal(arrays["value"], np.arange(3))
