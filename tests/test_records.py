"""JSON from outside becomes a checked dataclass or an InvalidRecord, whatever it holds."""

import enum
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from wham_blender import folders, records
from wham_blender.records import AtMost, FileName, InvalidRecord, Within
from wham_blender.weights import WeightsError
from wham_blender.weights.library import Library


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Inner:
    name: Annotated[str, FileName()]
    share: Annotated[float, Within(0, 1)] | None = None


@dataclass(frozen=True)
class Outer:
    folder: Path
    text: Annotated[str, AtMost(5)]
    count: int = 0
    on: bool = False
    colour: Colour = Colour.RED
    inner: list[Inner] = field(default_factory=list)
    pairs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    anything: dict[str, Any] = field(default_factory=dict)


GOOD = {
    "text": "näh", "count": 1764300000123456789, "on": True, "colour": "BLUE",
    "inner": [{"name": "a.png", "share": 1}, {"name": "b.png", "share": None}], "pairs": {"x": [1, 2]},
    "anything": {"a": None, "b": 2.5, "c": "", "d": False},
}  # fmt: skip


def made(**changes: Any) -> Outer:
    return records.make(Outer, {"folder": Path("/jobs"), **GOOD, **changes})


def test_a_good_record_keeps_its_values_in_their_types():
    assert made() == Outer(
        Path("/jobs"), "näh", 1764300000123456789, True, Colour.BLUE, [Inner("a.png", 1.0), Inner("b.png")],
        {"x": (1, 2)}, {"a": None, "b": 2.5, "c": "", "d": False},
    )  # fmt: skip
    assert isinstance(made().inner[0].share, float)
    assert records.make(Outer, {"folder": Path(), "text": ""}).colour is Colour.RED


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": 3}, "text is 3, not a text"),
        ({"text": "longer"}, "longer than 5"),
        ({"text": "\ud800"}, "text is '\\\\ud800', not a text"),
        ({"count": True}, "count is True, not an integer"),
        ({"count": 1.5}, "not an integer"),
        ({"count": 10**400}, "count is a huge integer"),
        ({"on": 1}, "on is 1, not true or false"),
        ({"colour": "GREEN"}, "not one of these values: RED, BLUE"),
        ({"colour": ["RED"]}, "a list, not one of"),
        ({"inner": {}}, "inner is a dict, not a list"),
        ({"inner": ["a.png"]}, r"inner\[0\] is 'a.png', not an object"),
        ({"inner": [{}]}, r"inner\[0\] lacks name"),
        ({"inner": [{"name": "a", "x": 1}]}, "unknown field 'x'"),
        ({"inner": [{"name": "a", "share": 1.01}]}, r"share is 1.01, not from 0 to 1"),
        ({"inner": [{"name": "a", "share": float("nan")}]}, "share is nan, not a number"),
        *(({"inner": [{"name": name}]}, "no file name") for name in ("", ".", "..", "../a", "a\\b", "C:a", "a\0b")),
        ({"pairs": {"x": ["y"]}}, r"pairs.x\[0\] is 'y'"),
        ({"anything": {"a": [1]}}, "anything.a is a list, not a text, number"),
        ({"anything": {"\udcff": 1}}, "not a text"),
        ({"folder": "/jobs"}, "folder is '/jobs', not a path"),
        ({"more": 1}, "Outer has the unknown field 'more'"),
    ],
)
def test_a_value_that_does_not_fit_is_named(changes, says):
    with pytest.raises(InvalidRecord, match=says):
        made(**changes)


@pytest.mark.parametrize(
    "text",
    ["", "{", "nan", "NaN", "-Infinity", "1e999", "[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "\ufeff{}", "\udcff",
     b"\xff", b"\xff\xfe{", " " * 200_000],
)  # fmt: skip
def test_what_is_no_json_is_refused(text):
    with pytest.raises(InvalidRecord):
        records.parse(text, 500_000 if len(text) < 150_000 else 100_000)


@dataclass(frozen=True)
class Small:
    text: str = ""


def test_only_a_regular_file_of_bounded_size_is_read(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"text": "x"}), "utf-8")
    assert records.load(path, Small) == Small("x")
    with pytest.raises(OSError, match="more than 5 bytes"):
        records.load(path, Small, 5)
    with pytest.raises(OSError):
        records.load(tmp_path, Small)
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="not a regular file"):
            records.load(tmp_path / "pipe", Small)


class TestLocation:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
            monkeypatch.setenv(name, str(tmp_path))
        folders.default_folder().mkdir(parents=True, exist_ok=True)

    def test_the_folder_that_was_named_is_used(self, tmp_path):
        kept = {"folder": str(tmp_path / "big"), "left_behind": str(tmp_path)}
        (folders.default_folder() / folders.RECORD).write_text(json.dumps(kept), "utf-8")
        assert folders.record() == kept
        assert folders.data_folder() == tmp_path / "big"

    @pytest.mark.parametrize(
        "content",
        ['{"folder": "relative/folder"}', '{"folder": ""}', '{"folder": 3}', '{"folder": ["/a"]}',
         '{"folder": "/a\\u0000"}', '{"folder": "/a", "left_behind": "b"}',
         "[]", "3", "{", "[" * 50_000, '{"folder": "/' + "a" * 70_000 + '"}'],
    )  # fmt: skip
    def test_a_damaged_record_is_as_none(self, content):
        (folders.default_folder() / folders.RECORD).write_text(content, "utf-8")
        assert folders.record() == {}
        assert folders.data_folder() == folders.default_folder()

    @pytest.mark.skipif(sys.platform == "win32", reason="named pipes are files on POSIX only")
    def test_a_named_pipe_in_its_place_does_not_block(self):
        os.mkfifo(folders.default_folder() / folders.RECORD)
        assert folders.record() == {}


class TestLibrary:
    @pytest.mark.parametrize(
        "content",
        ['{"yolo": {"path": "a.pt", "size": 1, "modified": 1}, "hmr2": {"path": 3, "size": 1, "modified": 1}}',
         '{"yolo": {"path": "a.pt", "size": "1", "modified": 1}}',
         '{"yolo": {"path": "\\ud800", "size": 1, "modified": 1}}',
         '{"yolo": {"path": "a.pt", "size": -1, "modified": 1}}', '{"yolo": ["a.pt", 1, 1]}', "[]", "[" * 50_000,
         '{"yolo": {"path": "a.pt", "size": 1, "modified": 1e999}}', "{}" + " " * 70_000],
    )  # fmt: skip
    def test_a_damaged_list_is_as_none(self, tmp_path, content):
        (tmp_path / "library.json").write_text(content, "utf-8")
        assert Library(tmp_path).paths() == {}
        assert Library(tmp_path).path("yolo") is None

    def test_a_path_with_a_null_character_is_a_missing_file(self, tmp_path):
        entry = {"yolo": {"path": "a\0b", "size": 1, "modified": 1}}
        (tmp_path / "library.json").write_text(json.dumps(entry), "utf-8")
        assert Library(tmp_path).path("yolo") is None

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_a_name_that_could_not_be_read_again_is_refused_and_the_others_stay(self, tmp_path):
        library = Library(tmp_path / "library")
        good, odd = tmp_path / "good.pt", tmp_path / "caf\udce9.pt"
        for path in (good, odd):
            path.touch()
        library._add({"yolo": good})
        with pytest.raises(WeightsError, match=r"caf\?\.pt is not valid UTF-8") as refused:
            library._add({"hmr2": odd})
        assert refused.value.code == "name-not-utf8"
        assert library.paths() == {"yolo": good}


def test_a_file_of_a_million_values_is_refused_before_it_is_read():
    """Python's reader takes a third of a second for it, during which no other thread goes on."""
    values: tuple[object, ...] = ([], {}, 1)
    for value in values:
        text = json.dumps([value] * 1_000_000, separators=(",", ":"))
        with pytest.raises(InvalidRecord, match="more than 50000 values"):
            records.parse(text, len(text))
        with pytest.raises(InvalidRecord, match="more than 50000 values"):
            records.parse(text.encode(), len(text))


def test_a_list_that_is_too_long_is_refused_before_its_items_are_looked_at(monkeypatch):
    monkeypatch.setattr(records, "_expect", lambda *_: pytest.fail("it was looked at"))
    with pytest.raises(InvalidRecord, match="longer than 3"):
        records.value_of(Annotated[list[int], AtMost(3)], ["text"] * 4, "list")
