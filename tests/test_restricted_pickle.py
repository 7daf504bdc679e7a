"""Pickles are read as records only, and none takes more memory or time than its limits say."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import time
import tracemalloc
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wham_blender import limits
from wham_blender.restricted_pickle import Call, Name, PickleError, Reader, Skipped, Stored, UnsafePickle

LARGE = os.urandom(300_000)  # longer than what is kept as text


def read(content: bytes, **options: Any) -> Any:
    return Reader(io.BytesIO(content), len(content), **options).load()


PLAIN: dict[Any, Any] = {
    "text": "a ö 漢 \U0001f600 \\ \n '", "long text": "word " * 20, "bytes": b"\x00\xff\n'\\", "empty": b"",
    "large": LARGE,
    "numbers": [0, 1, -1, 255, 256, 65536, 2**31, -(2**40), 2**90, 1.5, -1e300], "truth": (True, False, None),
    "nested": {1: {"a": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]}, 2.5: [], None: {}}, b"key": bytearray(b"x\x80"),
}  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_read_in_all_protocols(protocol: int) -> None:
    assert read(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_objects_are_recorded(protocol: int) -> None:
    shared = ["shared"]
    value = {
        "ordered": OrderedDict(a=1), "default": defaultdict(int, {"b": 2}), "set": {7}, "path": Path("x"),
        "twice": [shared, shared], "kind": Path, "call": struct.Struct,
    }  # fmt: skip
    content = pickle.dumps(value, protocol)
    reader = Reader(io.BytesIO(content), len(content))
    found = reader.load()
    assert found["ordered"] == {"a": 1}
    assert found["default"] == {"b": 2}
    assert isinstance(found["set"], Call)
    assert (found["set"].name, found["set"].args) == ("builtins.set", ([7],))
    assert found["path"].name.endswith("Path")
    assert found["path"].args == ("x",)
    assert found["twice"][0] is found["twice"][1]
    assert found["kind"] == Name(f"{Path.__module__}.Path")
    assert f"{Path.__module__}.Path" in reader.names


def test_what_python_2_wrote_is_read() -> None:
    # The text of protocols 1 and 2, an ordered dictionary with its items as arguments, an object of an old class.
    content = (
        b"(dU\x01aU\x02\xff\x00sU\x01bT\x03\x00\x00\x00abcsU\x01cS'\\xff\\n\\''\nsU\x01o"
        b"ccollections\nOrderedDict\n((l(lU\x01kaK\x05aatRsU\x01i(imodule\nOld\n}U\x01xK\x01sbsU\x01lL12L\ns."
    )
    found = read(content)
    assert (found["a"], found["b"], found["c"], found["o"], found["l"]) == ("\xff\0", "abc", "\xff\n'", {"k": 5}, 12)
    assert (found["i"].name, found["i"].state) == ("module.Old", {"x": 1})
    large = b"S" + repr(LARGE)[1:].encode() + b"\n."
    assert read(large) == LARGE


def test_states_items_and_outside_objects_are_recorded() -> None:
    found = read(b"cmodule\nKind\n)\x81}U\x01aK\x01sb(U\x01kK\x02u(K\x03K\x04e.")
    assert (found.name, found.state, found.items, found.elements) == ("module.Kind", {"a": 1}, {"k": 2}, [3, 4])
    stored = Reader(io.BytesIO(b"(U\x07storageK\x01tQ."), 15)
    assert stored.load() == Stored(("storage", 1))
    assert stored.stored == [("storage", 1)]


def test_a_name_that_is_not_allowed_ends_the_reading() -> None:
    content = pickle.dumps({"a": os.system, "b": 1})
    with pytest.raises(UnsafePickle, match=f"{os.name}.system"):
        read(content, allows={"numpy.ndarray"}.__contains__)
    assert read(content)["a"] == Name(f"{os.name}.system")


def test_large_values_can_be_skipped() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert isinstance(read(pickle.dumps([LARGE], protocol), longest=1000)[0], Skipped)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"N", b".", b"0.", b"\xff.", b"(.", b"a.", b"]a.", b"u.", b"}(U\x01au.", b"R.", b"NNR.", b")\x81.", b"Nb.",
        b"NK\x01a.", b"h\x00.", b"g5\n.", b"\x85.", b"K\x01\x86.", b"Ia\n.", b"I" + b"1" * 5000 + b"\n.", b"S'a\n.",
        b"\x8b" + struct.pack("<i", 1 << 20) + bytes(1 << 20) + b".", b"\x8b\xff\xff\xff\xff.", b"T\xff\xff\xff\xff.",
        b"X\xff\xff\xff\x7fabc.", b"\x8e" + b"\xff" * 8 + b".", b"\x96" + b"\x00" * 7 + b"\x10.", b"U\x05ab",
        b"X\x02\x00\x00\x00\xff\xff.", b"\x82\x01.", b"\x97.", b"c\n\n.", b"cos\nsys tem\n.", b"K\x01K\x02\x93.",
        b"cos\n" + b"a" * 5000 + b"\n.", b"L" + b"9" * 5000 + b"L\n.", b"Vno end",
        b"X\x80\x1a\x06\x00" + "漢".encode() * 133_333 + b" .",
    ],
)  # fmt: skip
def test_damage_is_told(content: bytes) -> None:
    with pytest.raises(PickleError):
        read(content)


def test_any_bytes_are_read_or_refused() -> None:
    rng = np.random.default_rng(0)
    whole = [pickle.dumps(PLAIN | {"large": b""}, protocol) for protocol in range(6)]
    for row in range(3000):
        content = bytearray(whole[row % 6])
        for _ in range(rng.integers(1, 5)):
            content[rng.integers(len(content))] = rng.integers(256)
        try:
            read(bytes(content))
        except PickleError as error:
            assert str(error)


MILLION = 1_000_000
TUPLES = b")" + b"2\x86" * 60  # each holds the one before it twice: 2 ** 60 elements in all
COLLIDING = b"".join(b"\x8a\x0c" + (number * ((1 << 61) - 1)).to_bytes(12, "little") + b"N" for number in range(60_000))
HOSTILE: dict[str, bytes] = {
    "a memo index of four thousand millions": b"Nr\xff\xff\xff\xff.",
    "memo indices far apart": b"N" + b"".join(b"r" + struct.pack("<I", 4000 * row) for row in range(MILLION)) + b".",
    "many sets": b"\x8f\x94" * MILLION + b".",
    "many dictionaries": b"}K\x01Ns" * MILLION + b".",
    "many marks": b"(" * 2 * MILLION + b".",
    "deep tuples": b")" + b"\x85" * (MILLION - 10) + b".",
    "deep objects": b"cm\nK\nq\x00)\x81" + b"q\x010h\x00h\x01\x85\x81" * 150_000 + b".",
    "a key of tuples that share tuples": b"}" + TUPLES + b"Ns.",
    "keys of the same hash": b"}(" + COLLIDING + b"u.",
    "one text made to bytes again and again": b"c_codecs\nencode\nq\x00X\x00\xff\x00\x00" + b"a" * 65280
    + b"q\x01U\x06latin1q\x020" + b"0" + b"h\x00h\x01h\x02\x86R" * 100_000 + b".",
    "a dictionary of the same pairs again and again": b"ccollections\nOrderedDict\nq\x00](K\x01K\x02\x86q\x02"
    + b"h\x02" * 100_000 + b"e\x85q\x01" + b"h\x00h\x01R0" * 100_000 + b".",
    "a list within itself": b"]q\x00h\x00a.",
    "sizes beyond the end": b"(" + b"B\xff\xff\xff\x7f" * 1000 + b".",
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_no_pickle_takes_long(case: str) -> None:
    began = time.thread_time()
    with contextlib.suppress(PickleError):
        read(HOSTILE[case])
    assert time.thread_time() - began < limits.PICKLE_SECONDS + 1


@pytest.mark.parametrize(
    "case",
    [
        "a memo index of four thousand millions", "many sets", "one text made to bytes again and again",
        "sizes beyond the end",
    ],
)  # fmt: skip
def test_no_pickle_takes_much_memory(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PICKLE_SECONDS", 60.0)  # counting memory takes several times as long as reading
    tracemalloc.start(1)
    try:
        with contextlib.suppress(PickleError):
            read(HOSTILE[case])
        assert tracemalloc.get_traced_memory()[1] < 500e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("limit", "value"), [("PICKLE_BYTES", 1000), ("PICKLE_STEPS", 100), ("PICKLE_SECONDS", -1.0)])
def test_limits_are_for_all_pickles_of_a_file(limit: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, limit, value)
    content = b"".join(pickle.dumps([number + 0.5, "x" * 20]) for number in range(200))
    reader = Reader(io.BytesIO(content), len(content))
    with pytest.raises(PickleError, match=r"than any file of this kind"):
        for _ in range(200):
            reader.load()
