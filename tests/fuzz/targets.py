"""The table of what the fuzz harness tries: every reader of something that comes from outside."""

from __future__ import annotations

import functools
import io
import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz import seeds, text_of
from tests.fuzz.bytes_of import Inner, Member, archives, bomb, damaged, deflated, npy, pickles, zipped
from tests.fuzz.harness import Example, Given, Target
from tests.fuzz.readers import KEY, ROW


def _file(content: bytes) -> Example:
    return Example(content)


def _sparse(content: bytes) -> Example:
    """A file of 64 GB that begins with ``content``."""
    return Example(content, "sparse")


def _checkpoint(name: str, content: bytes) -> SearchStrategy[bytes]:
    return pickles(content) if name.endswith("data.pkl") else damaged(content)


def _arrays(_name: str, content: bytes) -> SearchStrategy[bytes]:
    return npy(content)


def _network() -> dict[str, bytes]:
    return seeds.members(seeds.network())


@functools.cache
def clips() -> dict[str, bytes]:
    """Small clips of the usual codecs and containers."""
    return {
        "h264.mp4": seeds.clip("a.mp4", "libx264"),
        "fragmented.mp4": seeds.clip("a.mp4", "libx264", g="3", movflags="frag_keyframe+empty_moov"),
        "hevc.mkv": seeds.clip("a.mkv", "libx265", **{"x265-params": "log-level=none"}),
        "mpeg4.avi": seeds.clip("a.avi", "mpeg4"),
        "mjpeg.avi": seeds.clip("a.avi", "mjpeg", pixels="yuvj420p"),
        "prores.mov": seeds.clip("a.mov", "prores_ks", pixels="yuv422p10le"),
        "vp9.webm": seeds.clip("a.webm", "libvpx-vp9"),
        "mpeg2.mpg": seeds.clip("a.mpg", "mpeg2video"),
        "gif.gif": seeds.clip("a.gif", "gif", pixels="rgb8"),
        "dv.dv": seeds.clip("a.dv", "dvvideo", (720, 576), "yuv420p"),
    }


def _array_of(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    """An .npy header that promises such an array, with few bytes after it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


# --- what failed before ----------------------------------------------------------------------------------------------


def _smpl_with(value: bytes) -> bytes:
    """A pickle of a dictionary with SMPL's names, one of them for the opcodes ``value``."""
    pairs = b"".join(b"X" + struct.pack("<L", len(name)) + name.encode() + value for name in seeds.body())
    return b"\x80\x02}(" + pairs + b"u."


# NumPy's type of objects with a state that denies it; the bytes of an array of it are then taken for addresses.
_OBJECT_TYPE = b"cnumpy\ndtype\n(X\x02\0\0\0O8K\0K\1tR(K\3X\1\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
_OBJECT_ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tC\1btR(K\1(K\1t"
    + _OBJECT_TYPE
    + b"\x89C\x08AAAAAAAAtb"
)
_CRAFTED = (
    _file(_smpl_with(_OBJECT_ARRAY)),
    _file(_smpl_with(b"cnumpy.core.multiarray\nscalar\n(" + _OBJECT_TYPE + b"C\x08AAAAAAAAtR")),
    _file(b"\x80\x02]r\xff\xff\xff\x3f."),  # 9 bytes: a memo of a thousand million places
    _file(b"\x80\x02]j\xff\xff\xff\x7f."),
    _file(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."),
    _file(b"\x80\x02)" + b"2\x86" * 40 + b"."),
    _file(_smpl_with(b"cnumpy\nndarray\n(J\0\0\0\x40\x85tR")),
    _file(b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR."),
)


def _crafted_archives(members: dict[str, bytes]) -> tuple[Example, ...]:
    """Archives with these members that ask for much, or are of kinds that are not read."""
    (name, content), *others = members.items()
    rest = [Member.of(*each) for each in others]
    stored = Member(name.encode(), content, 0, 0, len(content))
    return (
        *(_file(zipped([first, *rest])) for first in (
            bomb(name, 3000, 3000 << 20, content[:200]), bomb(name, 3000, len(content), content),
            Member.of(name, _array_of((1 << 40,))), Member.of(name, _array_of((1 << 29,))),
            Member.of(name, _array_of((0, 1 << 62, 1 << 62))), replace(stored, flags=1), replace(stored, method=99),
        )),
        _file(zipped([Member.of(name, content), *rest, bomb("nobody_asked.npy", 3000, 3000 << 20)])),
        _file(zipped([Member.of(f"{number}.npy", b"") for number in range(70_000)])),
        _file(zipped([Member.of(name, content), *rest])[:-30]),
        _file(b"PK\x05\x06" + bytes(18)),
        _sparse(zipped([Member.of(name, content), *rest])),
    )  # fmt: skip


def _json(value: Any) -> Example:
    return Example(json.dumps(value).encode())


def _deep(text: str, key: str) -> bytes:
    return text.encode() + b"\n" + key.encode() + b" = 1\n"


_JSON = (
    _file(b"[" * 100_000), _file(b'{"a":' * 5000 + b"1" + b"}" * 5000), _file(b"9" * 100_000), _file(b'"\\ud800"'),
    _file(b"\xff\xfe"), _file(b"null"), _file(b"[[]]"), _file(b" " * (8 << 20)), _sparse(b"{"),
)  # fmt: skip


def _messages() -> Given:
    valid = tuple(_json(line) for line in seeds.lines() if line["type"] != "Log")
    return Given(text_of.json_texts(*seeds.lines()), valid, (
        _file(b'{"type": "Failed", "text": 7, "code": ""}'), _file(b'{"type": "Failed", "text": "\\ud800"}'),
        _file(b'{"type": "Progress", "stage": "x", "done": 1, "total": 1, "fraction": NaN}'),
        _file(b'{"type": "Progress", "stage": "x", "done": 1, "total": 1, "fraction": 1e999}'),
        _file(b'{"type": "Progress", "stage": "x", "done": 1' + b"0" * 400 + b', "total": 1, "fraction": 1}'),
        _file(b'{"type": "People", "people": [7]}'), _file(b'{"type": ' * 100_000), _file(b'{"type": []}'),
    ))  # fmt: skip


def _settings(valid: dict[str, Any], *known: Example) -> Given:
    return Given(text_of.json_texts(valid), (_json(valid),), (*_JSON, *known))


def _job() -> Given:
    job = seeds.job()
    return _settings(
        job, *(_json(job | {key: None}) for key in job), *(_json(job | {key: [[]]}) for key in job),
        _json(job | {"clip": "a\0b"}), _json(job | {"created": "now"}), _json(job | {"results": {"1": 7}}),
    )  # fmt: skip


def _library() -> Given:
    def entry(path: str) -> dict[str, Any]:
        return {"path": path, "size": 10, "modified": 10}

    valid = {"vitpose": entry("vitpose.pth"), "smpl": entry("smpl.pkl")}
    return _settings(valid, _json({"smpl": entry("a\0b")}), _json({"smpl": entry("x" * 5000)}))


def _location() -> Given:
    valid = {"folder": "/data/wham", "moving_to": "/data/new", "left_behind": "/data/old"}
    return _settings(valid, _json({"folder": "a\0b"}), _file(b'{"folder": "\\ud800"}'))


def _rates() -> Given:
    valid = {"cpu draft": {"detect": 0.5, "smplify": 0.02}, "cuda full": {"detect": 0.1}}
    odd: tuple[object, ...] = (True, 1e-320, 1e308, [], "x")
    return _settings(
        valid, _file(b'{"cpu draft": {"detect": 1e999}}'), *(_json({"cpu draft": {"detect": each}}) for each in odd)
    )


def _marker() -> Given:
    return _settings({"build": "cpu", "python": "3.11.9", "torch": "2.9", "fingerprint": "0" * 64})


def _archive(members: dict[str, bytes], inner: Inner = _arrays, more: tuple[Example, ...] = ()) -> Given:
    valid = _file(zipped([Member.of(*each) for each in members.items()]))
    return Given(archives(members, inner), (valid,), (*_crafted_archives(members), *more))


def _bodies() -> Given:
    old, new = seeds.body_pickle(2), seeds.body_pickle(4)
    return Given(st.one_of(pickles(old), pickles(new)), (_file(old), _file(new), _sparse(old)), _CRAFTED)


def _old_network() -> Given:
    network = seeds.network(legacy=True)
    return Given(pickles(network), (_file(network),), ())


def _rig_map() -> Given:
    valid = seeds.rig_map()
    return Given(text_of.toml_texts(valid), (_file(valid.encode()),), (
        _file(_deep(valid, ".".join(["a"] * 100_000))), _file(_deep(valid, "x." * 1000 + "x")),
        _file(b"name = " + b"[" * 100_000), _file(b"name = " + b"9" * 100_000), _file(b"name = " + b"{a=" * 5000),
        _file("\n".join(["a." * 500 + f"b{n} = 1" for n in range(400)]).encode()), _file(b"\xff"),
        _file(valid.replace("name =", 'name = "\\ud800"\nname2 =').encode()), _file(b"#" + b"x" * (8 << 20)),
        _file(valid.replace("[controls]", '[controls]\n"\\t\\n" = "x"').encode()), _sparse(b"name = 1"),
    ))  # fmt: skip


def _array_file() -> Given:
    rows = seeds.array_file(KEY, ROW)
    return Given(damaged(rows), (_file(rows),), (_file(rows[:64]), _file(rows[:-1])))


def _clip() -> Given:
    whole = tuple(clips().values())
    tiny = (seeds.clip("a.avi", "mjpeg", size, "yuvj420p") for size in ((2, 2), (8, 40), (14, 14)))
    return Given(st.one_of(*map(damaged, whole)), tuple(map(_file, whole)), (
        *(_file(each[: len(each) // 2]) for each in whole), *map(_file, tiny),
        _file(b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), _file(b"ffconcat version 1.0\nfile /etc/passwd\n"),
    ))  # fmt: skip


def _picture() -> Given:
    whole = seeds.pictures()
    return Given(st.one_of(*map(damaged, whole)), tuple(map(_file, whole)), (
        *(_file(each[: len(each) // 2]) for each in whole), *(_file(each[:12]) for each in whole),
        # A header of a gigapixel, and chunks of sizes that lead nowhere.
        _file(whole[0][:16] + struct.pack(">II", 1 << 15, 1 << 15) + whole[0][24:]),
        _file(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0xFFFFFFFF, b"eXIf")),
        _file(b"\xff\xd8\xff\xe1\0\0Exif\0\0II*\0"), _file(b"II*\0\xff\xff\xff\xff"),
        _file(b"RIFF\0\0\0\0WEBPEXIF\xff\xff\xff\xff"), _file(b"\xff\xd8" + b"\xff\xe1\0\0" * 50_000),
    ))  # fmt: skip


def _focal_length() -> Given:
    valid = seeds.quicktime()
    return Given(damaged(valid), (_file(valid),), (
        _file(struct.pack(">I4sQ", 1, b"free", 2**63)), _sparse(struct.pack(">I4s", 0xFFFFFFFF, b"moov")),
        _file(struct.pack(">I4s", 0, b"moov")), _file(struct.pack(">I4sQ", 1, b"moov", 0)),
    ))  # fmt: skip


def _download() -> Given:
    body, good = seeds.body_pickle(), b"HTTP/1.1 200 OK\r\n"
    valid = zipped([Member.of("SMPL/body.pkl", body, deflate=True)])
    return Given(text_of.answers(body), (_file(good + b"Content-Length: %d\r\n\r\n" % len(valid) + valid),), (
        _file(good + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nx"), _file(b""),
        _file(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n"),
        _file(good + b"\r\n" + zipped([Member(b"body.pkl", deflated(3000), 8, 0, 3000 << 20)])),
        _file(good + b"\r\n" + zipped([Member(b"body.pkl", body, 0, 1, len(body), flags=1)])),
    ))  # fmt: skip


TARGETS = (
    Target("SMPL .pkl", "smpl", "body.pkl", _bodies, 400),
    Target("SMPL .npz", "smpl", "body.npz", lambda: _archive(seeds.npz(seeds.body())), 120),
    Target("weights .pkl", "recognised", "body.pkl", _bodies, 400),
    Target("weights .npz", "recognised", "body.npz", lambda: _archive(seeds.npz(seeds.body())), 120),
    Target("weights .pt", "recognised", "network.pt", lambda: _archive(_network(), _checkpoint, _CRAFTED), 150),
    Target("weights, old .pt", "recognised", "network.pt", _old_network, 150),
    Target("checkpoint .pt", "checkpoint", "network.pt", lambda: _archive(_network(), _checkpoint, _CRAFTED), 100),
    Target("checkpoint, old .pt", "checkpoint", "network.pt", _old_network, 80),
    Target("checkpoint .npz", "checkpoint", "network.npz", lambda: _archive(seeds.npz(seeds.body())), 60),
    Target("YOLO", "yolo", "yolo.pt", lambda: _archive(seeds.members(seeds.yolo()), _checkpoint), 12),
    Target("motion", "motions", "motion.npz", lambda: _archive(seeds.motion_members(1)), 120),
    Target("motion of two", "motions", "motion.npz", lambda: _archive(seeds.motion_members(2)), 120),
    Target("rig map", "rig_map", "map.toml", _rig_map, 250),
    Target("clip", "clip", "clip.mp4", _clip, 150),
    Target("picture", "picture", "shot_0001.png", _picture, 200),
    Target("focal length", "focal_length", "clip.mov", _focal_length, 200),
    Target("stage", "stage", "stage.npz", lambda: _archive(seeds.stage(KEY)), 120),
    Target("array file", "array_file", "rows.crops", _array_file, 150),
    Target("messages", "message", "line", _messages, 300, is_file=False),
    Target("job record", "job", "jobs/walk-1/job.json", _job, 250),
    Target("library", "library", "library.json", _library, 250),
    Target("location", "location", "wham_blender/location.json", _location, 250),
    Target("rates", "rates", "rates.json", _rates, 250),
    Target("worker's marker", "marker", "complete.json", _marker, 150),
    Target("download", "download", "answer", _download, 60, is_file=False),
)
