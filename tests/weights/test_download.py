"""Downloads against a server on this machine that breaks off, lies, redirects and asks for a password."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
import urllib.parse
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

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
    account: bool = False
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
            if told.status:
                return self.send_error(told.status)
            first = 0
            if wanted and told.ranges and self.headers["If-Range"] == told.etag:
                first = int(wanted.removeprefix("bytes=").rstrip("-"))
                if first >= len(told.content):
                    return self.send_error(416)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{len(told.content) - 1}/{len(told.content)}")
            else:
                self.send_response(200)
            data = told.content[first:]
            self.send_header("ETag", told.etag)
            self.send_header("Content-Length", str(told.announced or len(data)))
            self.end_headers()
            data = data[: told.cut.pop(0)] if told.cut else data
            told.sent += len(data)
            self.wfile.write(data)
            return None

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
    assert "goes on from there" in sentence(entry(server), tmp_path)
    path, told = fetch(entry(server), tmp_path)
    assert told[0] == (70_000, len(FILE))
    assert path.read_bytes() == FILE


def test_what_was_whole_but_not_yet_taken_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "body.pkl.part").write_bytes(FILE)
    (tmp_path / "body.pkl.part.json").write_text(f'["one", {len(FILE)}]')
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE
    assert server.asked == []


@pytest.mark.parametrize("change", [{"etag": '"two"'}, {"ranges": False}], ids=["another version", "no ranges"])
def test_what_cannot_be_gone_on_with_begins_anew(server: Server, tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "body.pkl.part").write_bytes(b"x" * 1000)
    (tmp_path / "body.pkl.part.json").write_text('["\\"one\\"", 1]')
    vars(server).update(change)
    assert fetch(entry(server), tmp_path)[0].read_bytes() == FILE


def test_more_than_the_server_has_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "body.pkl.part").write_bytes(FILE + b"x")
    (tmp_path / "body.pkl.part.json").write_text('["\\"one\\"", 1]')
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
