"""Strategies for texts that are wrong or odd: JSON, TOML, and the answers of a web server."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.bytes_of import SIZES, Member, Seed, damaged, deflated, zipped

_NUMBERS = (
    0,
    -0.0,
    -1,
    0.5,
    1e308,
    1e-320,
    float("inf"),
    float("-inf"),
    float("nan"),
    2**53 + 1,
    2**64,
    10**400,
    -(2**63),
)
_TEXTS = (
    "",
    " ",
    "x",
    "\0",
    "\ud800",
    "\udcff",
    "\n",
    "é\u202e",
    "x" * 5000,
    "..",
    "../../x",
    "/dev/zero",
    "a\0b",
    "DONE",
    "True",
)

_scalars = st.one_of(
    st.sampled_from((None, True, False)), st.sampled_from(_NUMBERS), st.sampled_from(_TEXTS), st.text(max_size=8)
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("x", *_TEXTS)), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def _changed(draw: DrawFn, value: Any) -> Any:
    """A JSON value with one value in it replaced, removed, renamed or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.sampled_from(("into", "into", "into", "remove", "rename", "add"))):
            case "into":
                return value | {key: draw(_changed(value[key]))}
            case "remove":
                return {name: each for name, each in value.items() if name != key}
            case "rename":
                return {(draw(st.sampled_from(_TEXTS)) if name == key else name): each for name, each in value.items()}
            case _:
                return value | {draw(st.sampled_from(("x", "folder", *_TEXTS))): draw(_values)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(_changed(value[at])), *value[at + 1 :]]
    return draw(_values)


@st.composite
def _deep(draw: DrawFn) -> str:
    count = draw(st.sampled_from((30, 990, 5000, 100_000)))
    return draw(st.sampled_from((
        "[" * count, "[" * count + "]" * count, '{"type":' * count, '{"a":' * count + "1" + "}" * count, "9" * count,
        "-" + "9" * count, "1e" + "9" * min(count, 9), '"' + "\\ud800" * min(count, 5000) + '"',
        "[" + "0," * count + "0]",
    )))  # fmt: skip


def _within(valid: dict[str, Any]) -> SearchStrategy[str]:
    """One value of the object replaced by a deep or long one."""
    return st.builds(
        lambda key, text: json.dumps(valid | {key: "@"}).replace('"@"', text), st.sampled_from(sorted(valid)), _deep()
    )


def json_texts(*valid: dict[str, Any]) -> SearchStrategy[bytes]:
    """JSON like these objects."""
    return st.one_of(*(
        strategy
        for each in valid
        for strategy in (
            _changed(each).map(lambda value: json.dumps(value).encode()),
            st.builds(lambda a, b: json.dumps(a).encode()[:-1] + b"," + json.dumps(b).encode()[1:], st.just(each),
            _changed(each)),
            _within(each).map(str.encode),
            damaged(json.dumps(each).encode()),
        )
    ), _deep().map(str.encode), _values.map(lambda value: json.dumps(value).encode()))  # fmt: skip


# --- TOML ------------------------------------------------------------------------------------------------------------


@st.composite
def _toml_value(draw: DrawFn) -> str:
    count = draw(st.sampled_from((2, 30, 990, 5000, 50_000)))
    return draw(st.sampled_from((
        '""', '"x"', "''", "1", "-0.0", "inf", "nan", "1e308", "true", "1979-05-27", "[]", "{}", '["pelvis", 1]',
        "[[]]",
        '"\\ud800"', '"\\U00110000"', '"\\u0000"', '"""\n\n"""', "9" * count, "0x" + "f" * count,
        "{a = 1, a = 2}",
        "[" * count + "]" * count, "{a=" * count + "1" + "}" * count, "{" + ".".join("a" * count) + " = 1}",
        "[" + "1," * count + "]", '"' + "x" * count + '"', "[" + '"x",' * count + "]", "1_" * min(count, 900) + "1",
        '{bone = "x", property = "y", ik = inf, fk = nan}', '{bone = "x", property = "y", ik = 1, fk = 1}',
        "{bone = 1}",
    )))  # fmt: skip


@st.composite
def _toml_line(draw: DrawFn) -> str:
    count = draw(st.sampled_from((2, 30, 990, 5000, 50_000)))
    key = draw(st.sampled_from((
        "name", "bones", "spine", "spine_at", "neck", "neck_at", "optional", "root", "location_bone", "mover",
        "controls", "twists",
        "ik", "ik.left_leg", "settings", "bones.pelvis", "bones.left_hip", "twists.left_hip", "x", '""', '"a.b"',
        ".".join(["a"] * count), "name." + ".".join(["a"] * count), ".".join(['"bones"'] * count),
    )))  # fmt: skip
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(
            st.sampled_from((f"[{key}]", f"[[{key}]]", f"[{key}", "[a.b.c]\n[a]\n[a.b]", "=", "\r", "#" + "x" * count))
        )
    if kind == 1:
        return "\n".join(f"{key[:40]}{number} = 1" for number in range(min(count, 5000)))
    return f"{key} = {draw(_toml_value())}"


@st.composite
def toml_texts(draw: DrawFn, valid: str) -> bytes:
    """TOML like this text."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged(valid.encode()))
    lines = valid.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(("value", "value", "line", "insert", "delete", "twice"))):
            case "value":
                lines[at] = f"{lines[at].partition('=')[0]}= {draw(_toml_value())}"
            case "line":
                lines[at] = draw(_toml_line())
            case "insert":
                lines.insert(at, draw(_toml_line()))
            case "delete" if len(lines) > 1:
                del lines[at]
            case "twice":
                lines.insert(at, lines[at])
    return "\n".join(lines).encode("utf-8", "replace")


# --- answers of a web server -----------------------------------------------------------------------------------------


def answers(body: bytes) -> SearchStrategy[bytes]:
    """An answer of a web server that sends ``body`` as body.pkl in a zip archive, or something else."""
    return _answers(Seed(body))


@st.composite
def _answers(draw: DrawFn, body: bytes) -> bytes:
    archive = draw(st.sampled_from((
        *[zipped([Member.of("SMPL/body.pkl", body, deflate=True)])] * 10, zipped([Member.of("x", b"")]), zipped([]),
        b"", b"PK\x05\x06",
        zipped([Member.of("a/body.pkl", body), Member.of("b/body.pkl", body)]), b"<html>", b"x" * 3000,
        zipped([Member(b"body.pkl", body, 0, 0, len(body), flags=1)]), zipped([Member(b"body.pkl", body, 99, 0,
        len(body))]),
        zipped([Member(b"body.pkl", body, 0, 1, len(body))]), zipped([Member(b"body.pkl", deflated(3000), 8, 0, 100)]),
        zipped([Member(b"body.pkl", deflated(3000), 8, 0, 3000 << 20)]), zipped([Member(b"../../body.pkl", body, 0, 1,
        9)]),
    )))  # fmt: skip
    if draw(st.booleans()):
        archive = draw(damaged(archive, 2)) if archive else archive
    lengths = (str(len(archive)),) * 6 + tuple(map(str, SIZES)) + ("-1", "x", "9" * 5000, "1e3", " ", "٣")
    status = draw(st.sampled_from(("HTTP/1.1 200 OK",) * 8 + (
        "HTTP/1.1 206 Partial Content", "HTTP/1.1 301 Moved", "HTTP/1.1 302 Found", "HTTP/1.1 404 Not Found",
        "HTTP/1.1 416 Range",
        "HTTP/1.1 503 Busy", "HTTP/1.1 100 Continue", "HTTP/1.1 200", "HTTP/9.9 999 x", "", "ICY 200 OK",
        "HTTP/1.1 99999 x",
    )))  # fmt: skip
    odd = draw(st.lists(st.sampled_from((
        "Content-Type: text/html", "Content-Type: x", "Content-Encoding: gzip", "ETag: " + "x" * 70000, "ETag: \"a\"",
        "ETag: \xff",
        "Transfer-Encoding: chunked", "Content-Range: bytes 5-9/10", "Content-Range: bytes x",
        "Location: http://127.0.0.1:1/",
        "Location: http:///", "Location: file:///etc/passwd", "Location: /again", "Location: http://[::1",
        "Location: \0",
        "Location: http://127.0.0.1:99999999/", "Location: http://localhost:x/", "Location: ftp://127.0.0.1/x", ": x",
        "x" * 70000,
        "Last-Modified: \ud800", "Location: https://127.0.0.1:1/é",
    )), max_size=3))  # fmt: skip
    lines = [
        status,
        *([f"Content-Length: {draw(st.sampled_from(lengths))}"] if draw(st.integers(0, 4)) else []),
        *odd,
        "",
        "",
    ]
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass")
    return head + archive
