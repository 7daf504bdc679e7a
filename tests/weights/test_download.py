"""Downloads against a server on this machine that breaks off, lies, redirects and asks for a password."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import pickle
import shlex
import shutil
import ssl
import subprocess
import threading
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wham_blender import limits
from wham_blender.weights import Published, WeightsError, download

ACCOUNT = ("anna@example.org", "pa ss&word")


def body_file() -> bytes:
    """A pickle with SMPL's keys, of a few hundred kilobytes."""
    random = np.random.default_rng(0)
    shapes = {"v_template": (300, 3), "shapedirs": (300, 3, 10), "posedirs": (300, 3, 207), "J_regressor": (24, 300)}
    shapes |= {"weights": (300, 24), "kintree_table": (2, 24), "f": (500, 3)}
    return pickle.dumps({name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}, protocol=2)


FILE = body_file()


@dataclass
class Server:
    """What the server is to do, and what it was asked."""

    address: str = ""
    content: bytes = FILE
    cut: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    etag: str = '"one"'
    ranges: bool = True
    page: bool = False
    status: int = 0
    announced: int | None = None
    redirect: str = ""
    redirect_length: int = 0  # of what comes with it, as its header says
    account: bool = False
    headers: dict[str, str | None] = field(default_factory=dict)  # instead of its own; None: left out
    raw: bytes = b""  # all that it answers
    endless: bool = False
    asked: list[str] = field(default_factory=list)  # Range headers, "" for none
    sent: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if told.account and (form["username"], form["password"]) != ([ACCOUNT[0]], [ACCOUNT[1]]):
                return self._page()
            return self._file()

        def do_GET(self) -> None:
            if self.path == "/start" and told.redirect:
                self.send_response(302)
                self.send_header("Location", told.redirect)
                self.send_header("Content-Length", str(told.redirect_length))
                self.end_headers()
                return None
            return self._page() if told.page or told.account else self._file()

        def _page(self) -> None:
            text = b"<!DOCTYPE html><html>Sign in</html>"
            self.send_response(200)
            # Some servers call everything a file.
            self.send_header("Content-Type", "application/octet-stream" if told.page else "text/html")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _file(self) -> None:
            wanted = self.headers["Range"] or ""
            told.asked.append(wanted)
            if told.raw:
                self.wfile.write(told.raw)
                return None
            if told.status:
                return self.send_error(told.status)
            first = 0
            if wanted and told.ranges and self.headers["If-Range"] == told.etag:
                first = int(wanted.removeprefix("bytes=").rstrip("-"))
                if first >= len(told.content):
                    return self.send_error(416)
                self.send_response(206)
                self._header("Content-Range", f"bytes {first}-{len(told.content) - 1}/{len(told.content)}")
            else:
                self.send_response(200)
            data = told.content[first:]
            self._header("ETag", told.etag)
            self._header("Content-Length", str(told.announced or len(data)))
            self.end_headers()
            data = data[: told.cut.pop(0)] if told.cut else data
            told.sent += len(data)
            self.wfile.write(data)
            with contextlib.suppress(OSError):
                while told.endless:
                    told.sent += self.wfile.write(bytes(1 << 20))
            return None

        def _header(self, name: str, value: str) -> None:
            if (sent := told.headers.get(name, value)) is not None:
                self.send_header(name, sent)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"http://127.0.0.1:{http.server_port}/start"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield told
    http.shutdown()
    thread.join()
    http.server_close()


def entry(server: Server, **changes: object) -> Published:
    plain = Published(
        "smpl", "body.pkl", "SMPL", "is the body", "X", "", "", "https://example.org/", server.address,
        size=len(FILE), sha256=hashlib.sha256(FILE).hexdigest(),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def fetch(
    wanted: Published, folder: Path, account: tuple[str, str] | None = None
) -> tuple[Path, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    path = download.download(wanted, folder, lambda *done: told.append(done), account, pause=0.0)
    return path, told


def sentence(wanted: Published, folder: Path, account: tuple[str, str] | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        fetch(wanted, folder, account)
    assert not (folder / wanted.name).exists()
    text = str(caught.value)
    assert text.endswith(".")
    assert ACCOUNT[1] not in text
    return text


def test_a_file_comes_whole_and_leaves_nothing_beside(server: Server, tmp_path: Path) -> None:
    path, told = fetch(entry(server), tmp_path / "new")
    assert path.read_bytes() == FILE
    assert [each.name for each in path.parent.iterdir()] == ["body.pkl"]
    assert told[0] == (0, len(FILE))
    assert told[-1] == (len(FILE), len(FILE))


def test_a_connection_that_drops_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut = [1000, 50_000, 0, 3]
    path, _ = fetch(entry(server), tmp_path)
    assert path.read_bytes() == FILE
    assert server.asked == ["", "bytes=1000-", "bytes=51000-", "bytes=51000-", "bytes=51003-"]
    assert server.sent == len(FILE)  # not a byte twice


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    server.cut = [70_000] + [0] * 5
    assert "continues from there" in sentence(entry(server), tmp_path)
    path, told = fetch(entry(server), tmp_path)
    assert told[0] == (70_000, len(FILE))
    assert path.read_bytes() == FILE


def test_what_was_whole_but_not_yet_taken_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "body.pkl.part").write_bytes(FILE)
    (tmp_path / "body.pkl.part.json").write_text(f'{{"version": "one", "size": {len(FILE)}}}')
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE
    assert server.asked == []


@pytest.mark.parametrize("change", [{"etag": '"two"'}, {"ranges": False}], ids=["another version", "no ranges"])
def test_what_cannot_be_gone_on_with_begins_anew(server: Server, tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "body.pkl.part").write_bytes(b"x" * 1000)
    (tmp_path / "body.pkl.part.json").write_text('{"version": "\\"one\\"", "size": 1}')
    vars(server).update(change)
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE


def test_more_than_the_server_has_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "body.pkl.part").write_bytes(FILE + b"x")
    (tmp_path / "body.pkl.part.json").write_text('{"version": "\\"one\\"", "size": 1}')
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE


def test_a_wrong_size_is_refused_before_a_byte_is_kept(server: Server, tmp_path: Path) -> None:
    server.content = FILE[:-1]
    assert "instead of" in sentence(entry(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_hash_is_deleted(server: Server, tmp_path: Path) -> None:
    server.content = FILE[:-1] + b"!"
    assert "arrived damaged" in sentence(entry(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_known_hash_the_content_decides(server: Server, tmp_path: Path) -> None:
    unknown = entry(server, size=0, sha256="")
    assert fetch(unknown, tmp_path)[0].read_bytes() == FILE
    server.content = b"neither page nor body" * 100
    assert "seems to be a file of another kind" in sentence(unknown, tmp_path / "other")
    server.content = FILE[:1000]
    assert "damaged" in sentence(unknown, tmp_path / "other")


@pytest.mark.parametrize("page", [True, False], ids=["called a file", "called a page"])
def test_a_page_to_sign_in_is_no_file(server: Server, tmp_path: Path, page: bool) -> None:
    server.page, server.account = page, True
    assert "answered with a web page instead of body.pkl" in sentence(entry(server, size=0, sha256=""), tmp_path)


def test_a_redirection_is_followed_but_never_out_of_encryption(server: Server, tmp_path: Path) -> None:
    server.redirect = server.address.replace("/start", "/moved")
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE
    server.redirect = "http://example.org/body.pkl"
    assert "not encrypted" in sentence(entry(server), tmp_path / "other")
    assert "not encrypted" in sentence(entry(server, address="http://example.org/a"), tmp_path / "other")


@pytest.mark.parametrize("length", [9_223_372_036_854_775_807, 10**12])
def test_what_comes_with_a_redirection_is_not_read(server: Server, tmp_path: Path, length: int) -> None:
    server.redirect, server.redirect_length = server.address.replace("/start", "/moved"), length
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_told_at_once(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    assert f"it answered {status}" in sentence(entry(server), tmp_path)
    assert len(server.asked) == 1


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = 503
    assert "broke off" in sentence(entry(server), tmp_path)
    assert len(server.asked) == 5


def test_nobody_there(server: Server, tmp_path: Path) -> None:
    assert "Check the internet connection" in sentence(entry(server, address="http://127.0.0.1:9/x"), tmp_path)


def test_no_room_on_the_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert "Make room" in sentence(entry(server), tmp_path)


def test_a_folder_that_cannot_be_written_to(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in sentence(entry(server), tmp_path / "file" / "folder")


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as files:
        for name, content in members.items():
            files.writestr(name, content)
    return stream.getvalue()


def signed_in(server: Server) -> Published:
    return entry(server, account=True, member="neutral.pkl", size=0, sha256="")


def test_an_archive_behind_an_account(server: Server, tmp_path: Path) -> None:
    server.account = True
    server.content = archive(**{"readme.txt": b"hello", "a/../../../models/neutral.pkl": FILE})
    server.cut = [1000]
    path, _ = fetch(signed_in(server), tmp_path / "in", ACCOUNT)
    assert path.read_bytes() == FILE
    assert [each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*.*")] == ["in/body.pkl"]
    for kept in tmp_path.rglob("*"):
        assert kept.is_dir() or b"pa ss" not in kept.read_bytes()


def test_what_else_of_use_the_archive_holds_comes_along(server: Server, tmp_path: Path) -> None:
    server.account = True
    server.content = archive(**{"models/neutral.pkl": FILE, "models/m.pkl": FILE, "models/x.pkl": b"no body"})
    others = [
        replace(signed_in(server), role="smpl_male", name="male.pkl", member="m.pkl"),
        replace(signed_in(server), role="smpl_female", name="female.pkl", member="f.pkl"),
    ]
    download.download(signed_in(server), tmp_path, lambda *_: None, ACCOUNT, 0.0, others)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["body.pkl", "male.pkl"]
    assert (tmp_path / "male.pkl").read_bytes() == FILE


def test_a_wrong_password(server: Server, tmp_path: Path) -> None:
    server.account = True
    assert "did not accept the name and password" in sentence(signed_in(server), tmp_path, ("anna", "wrong"))
    server.status = 401
    assert "did not accept the name and password" in sentence(signed_in(server), tmp_path, ACCOUNT)


def test_an_archive_without_the_file(server: Server, tmp_path: Path) -> None:
    for server.content in (archive(other=b"x"), b"no archive" * 1000):
        assert "does not hold neutral.pkl" in sentence(signed_in(server), tmp_path, ACCOUNT)


@pytest.mark.parametrize("length", ["-5", "many", "1.5", "9" * 5000, None], ids=lambda value: str(value)[:9])
def test_a_length_that_is_none_does_not_count(server: Server, tmp_path: Path, length: str | None) -> None:
    server.headers["Content-Length"] = length
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE
    assert names(tmp_path) == ["body.pkl"]


def test_an_absurd_length_is_refused(server: Server, tmp_path: Path) -> None:
    server.headers["Content-Length"] = "1" + "0" * 30
    assert "instead of" in sentence(entry(server), tmp_path)
    assert "larger than 12.9 GB" in sentence(entry(server, size=0, sha256=""), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "given", ["bytes 5-9/10", "bytes x-y/z", f"bytes {'9' * 5000}-", "bytes -1-", "", None], ids=lambda v: str(v)[:12]
)
def test_another_part_than_was_asked_for_is_not_used(server: Server, tmp_path: Path, given: str | None) -> None:
    server.cut = [1000]
    server.headers["Content-Range"] = given
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE
    assert server.asked == ["", "bytes=1000-", ""]


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff\xfe",
        b"[" * 50_000,
        b'["one", 1e999]',
        b'{"version": "one", "size": -1}',
        b'{"version": "a\\nX-Other: b", "size": 9}',
        b'{"version": "\\ud800", "size": 9}',
        b'["a\\nX-Other: b", 9]',  # as earlier versions wrote it
        b'["one", ' + b"9" * 5000 + b"]",
    ],
    ids=range(9),
)
def test_a_damaged_record_of_a_part_begins_anew(server: Server, tmp_path: Path, record: bytes) -> None:
    (tmp_path / "body.pkl.part").write_bytes(FILE[:1000])
    (tmp_path / "body.pkl.part.json").write_bytes(record)
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE
    assert names(tmp_path) == ["body.pkl"]


@pytest.mark.parametrize("name", ["Content-Length", "ETag", "Location"])
def test_headers_in_another_encoding(server: Server, tmp_path: Path, name: str) -> None:
    server.headers[name] = "caf\xe9"
    server.redirect = f"{server.address}/\xe9" if name == "Location" else ""
    server.cut = [1000]
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("http://[", "is not valid"),
        ("https:///body.pkl", "it names no computer"),
        ("https://127.0.0.1:99999999/", "is not valid"),
        ("https://127.0.0.1:port/", "is not valid"),
        ("https://" + "a" * 70 + ".example/", "is not valid"),
        ("ftp://127.0.0.1/body.pkl", "not encrypted"),
        ("file:///etc/passwd", "does not give out body.pkl"),
        ("/start", "does not give out body.pkl"),  # again and again
        ("", "does not give out body.pkl"),
    ],
)
def test_a_redirection_that_cannot_be_followed(server: Server, tmp_path: Path, place: str, words: str) -> None:
    server.redirect = place or " "
    assert words in sentence(entry(server), tmp_path)
    assert names(tmp_path) == []


def test_a_proxy_whose_address_is_none(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http:proxy")
    assert "Check the address of the proxy" in sentence(entry(server), tmp_path)


@pytest.mark.parametrize(
    "raw",
    [
        b" ",
        b"\x1b[31mno server\r\n",
        b"HTTP/1.1 200 " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nxxx",
        b"HTTP/1.1 999999 OK\r\n\r\n",
    ],
    ids=range(7),
)
def test_an_answer_that_is_no_http(server: Server, tmp_path: Path, raw: bytes) -> None:
    server.raw = raw
    text = sentence(entry(server), tmp_path)
    assert "broke off" in text
    assert text.isprintable()
    assert names(tmp_path) == []


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes the certificate")
def test_a_certificate_that_nobody_vouches_for(server: Server, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout {key} -out {key}.crt"
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{key}.crt", key)
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        text = sentence(entry(server, address=f"https://localhost:{http.server_port}/x"), tmp_path / "new")
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
    assert "The certificate of localhost is not valid (self" in text
    assert names(tmp_path / "new") == []


@pytest.mark.parametrize("size", [0, len(FILE)], ids=["size unknown", "size known"])
def test_a_download_without_end(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    server.endless = True
    server.headers = {"Content-Length": None}
    monkeypatch.setattr(limits, "DOWNLOAD_BYTES", 5 << 20)
    assert "is larger than" in sentence(entry(server, size=size, sha256=""), tmp_path)
    assert server.sent < 40 << 20  # what the network held
    assert names(tmp_path) == []


def has_room(monkeypatch: pytest.MonkeyPatch, left: Callable[[Path], int]) -> None:
    """Let the disk have ``left(folder)`` bytes to spare."""
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=limits.DISK_RESERVE_BYTES + left(folder))
    )


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_disk_that_fills_during_a_download_of_unknown_length(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.endless = True
    server.headers = {"Content-Length": None}
    has_room(monkeypatch, lambda folder: (5 << 20) - bytes_in(folder))
    assert "Make room" in sentence(entry(server, size=0, sha256=""), tmp_path)
    assert server.sent < 40 << 20
    assert names(tmp_path) == []


def test_a_download_goes_on_when_there_is_room_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(FILE) > download._BLOCK
    room = [len(FILE), len(FILE)]  # before the first byte and the first block
    has_room(monkeypatch, lambda _: room.pop() if room else 0)
    assert "Make room" in sentence(entry(server), tmp_path)
    assert names(tmp_path) == ["body.pkl.part", "body.pkl.part.json"]
    has_room(monkeypatch, lambda _: len(FILE))
    fetch(entry(server), tmp_path)
    assert server.asked == ["", f"bytes={download._BLOCK}-"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG, 12345])
def test_a_disk_that_fails_is_a_sentence(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(download.Path, "replace", fail)
    assert f"cannot be written to {tmp_path}: {os.strerror(error)}" in sentence(entry(server), tmp_path)


def test_what_cannot_be_deleted_does_not_hide_the_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(download.Path, "unlink", fail)
    server.content = FILE[:-1] + b"!"
    assert "arrived damaged" in sentence(entry(server), tmp_path)
    server.content = archive(other=b"x")
    assert "does not hold neutral.pkl" in sentence(signed_in(server), tmp_path, ACCOUNT)


@pytest.mark.parametrize("member", ["", "neutral.pkl"], ids=["file", "archive"])
@pytest.mark.parametrize("name", ["body.pkl", "{}.part", "{}.part.json", "body.pkl.part"])
def test_a_folder_in_the_way(server: Server, tmp_path: Path, name: str, member: str) -> None:
    place = tmp_path / name.format("start.zip" if member else "body.pkl")
    place.mkdir()
    with pytest.raises(WeightsError, match=r"is in the way .*Move or delete") as caught:
        fetch(entry(server, member=member), tmp_path)
    assert str(place) in str(caught.value)
    assert server.asked == []  # before gigabytes are downloaded
    assert names(tmp_path) == [place.name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_way(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "body.pkl.part")
    assert "is in the way" in sentence(entry(server), tmp_path)


def changed(content: bytes, **fields: tuple[int, bytes]) -> bytes:
    """An archive with bytes in its list of members replaced; fields: offset in the first entry, and bytes."""
    begin = content.index(b"PK\x01\x02")
    for offset, value in fields.values():
        content = content[: begin + offset] + value + content[begin + offset + len(value) :]
    return content


def compressed(method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as files:
        files.writestr("neutral.pkl", FILE)
    return stream.getvalue()


def test_archives_that_cannot_be_unpacked(server: Server, tmp_path: Path) -> None:
    whole = archive(**{"neutral.pkl": FILE})
    middle = len(whole) // 2
    cases = {
        "encrypted": changed(whole, flags=(8, b"\x01\x00")),
        "damaged": whole[:middle] + bytes(20) + whole[middle + 20 :],
        "of another size": changed(whole, size=(24, (100).to_bytes(4, "little"))),
        "beyond its end": changed(whole, offset=(42, b"\xff\xff\xff\x7f")),
        "by an unknown method": changed(whole, method=(10, b"\x63\x00")),
        "by bzip2": compressed(zipfile.ZIP_BZIP2),  # whose reader unpacks gigabytes at once
        "by lzma": compressed(zipfile.ZIP_LZMA),
        "twice": archive(**{"a/neutral.pkl": FILE, "b/neutral.pkl": FILE}),
    }
    for name, server.content in cases.items():
        assert "cannot be unpacked (" in sentence(signed_in(server), tmp_path, ACCOUNT), name
        assert names(tmp_path) == [], name


def test_a_member_that_unpacks_without_end(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = archive(**{"neutral.pkl": bytes(50 << 20)})
    monkeypatch.setattr(limits, "MEMBER_BYTES", 20 << 20)
    written: list[int] = []
    monkeypatch.setattr(download, "_write", lambda stream, block, _: written.append(stream.write(block)))
    assert "it unpacks to 0.1 GB" in sentence(signed_in(server), tmp_path, ACCOUNT)
    server.content = changed(server.content, size=(24, (10 << 20).to_bytes(4, "little")))  # a lie
    assert "cannot be unpacked" in sentence(signed_in(server), tmp_path, ACCOUNT)
    assert sum(written) < 11 << 20
    assert names(tmp_path) == []


def test_a_disk_that_fills_while_an_archive_is_unpacked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = archive(**{"neutral.pkl": FILE})
    has_room(monkeypatch, lambda folder: 0 if (folder / "body.pkl.part").exists() else 1 << 30)
    assert "Make room" in sentence(signed_in(server), tmp_path, ACCOUNT)
    assert names(tmp_path) == ["start.zip.part", "start.zip.part.json"]  # the download itself is whole
    has_room(monkeypatch, lambda _: 1 << 30)
    assert fetch(signed_in(server), tmp_path, ACCOUNT)[0].read_bytes() == FILE
    assert len(server.asked) == 1
    assert names(tmp_path) == ["body.pkl"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
