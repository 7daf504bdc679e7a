"""Downloads one file: resumes after an interruption, and checks the file before it is used. Standard library only.

An incomplete file lies beside the target as NAME.part, with its version and length from the server in NAME.part.json.
"""

from __future__ import annotations

import errno
import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import sha256_of
from . import Published, WeightsError, contents

Progress = Callable[[int, int], None]  # bytes downloaded, and the file's size (0: not known)

_BLOCK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 5  # in a row without a byte
_LOCAL = ("localhost", "127.0.0.1", "::1")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not from HTTPS to HTTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    entry: Published,
    folder: Path,
    progress: Progress,
    account: tuple[str, str] | None = None,
    pause: float = 1.0,
    also: Sequence[Published] = (),
) -> Path:
    """Download a published file into a folder and return its path.

    account: name and password, for an entry that needs them; they are not stored. pause: seconds before the second
    attempt, longer before each one after that. also: other files of the same archive, unpacked beside it if they are
    in it. Raises WeightsError; the next call resumes a download that broke off.
    """
    target = folder / entry.name
    downloaded = folder / (
        Path(urllib.parse.urlsplit(entry.address).path).name + ".zip" if entry.member else entry.name
    )
    part = downloaded.with_name(f"{downloaded.name}.part")
    _check_address(entry.address)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(entry, part, progress, account, pause)
        _check_hash(entry, part)
        if entry.member:
            archive = part
            part = target.with_name(f"{target.name}.part")
            try:
                _unpack(entry, archive, part)
                for other in also:
                    with suppress(WeightsError):
                        _unpack(other, archive, folder / f"{other.name}.part").replace(folder / other.name)
            finally:
                _remove(archive)
        content = contents.recognise(part)
        if content.role != entry.kind:
            _remove(part)
            raise WeightsError(
                f"What {_host(entry.address)} sent as {entry.name} is not {entry.title}: it seems to be "
                f"{content.description}. Open the page and download the file by hand.",
                code="download-wrong-file",
            )
        part.replace(target)
        _remove(part)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise
        raise WeightsError(
            f"{entry.name} cannot be written to {folder}: {error.strerror}. Make room there, or choose another folder.",
            code="download-not-writable",
        ) from error
    return target


def _fetch(entry: Published, part: Path, progress: Progress, account: tuple[str, str] | None, pause: float) -> None:
    """Complete ``part``, with as many connections as it takes."""
    failures = 0
    while not _size(part) or _size(part) != _server_record(part)[1]:
        before = _size(part)
        try:
            if _connect(entry, part, progress, account):
                return
            reason = "it ended too early"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
            if isinstance(error, urllib.error.HTTPError) and error.code not in (408, 416, 429, 500, 502, 503, 504):
                raise _refused(entry, error.code) from error
        failures = 0 if _size(part) > before else failures + 1
        if failures >= _ATTEMPTS:
            raise WeightsError(
                f"The connection to {_host(entry.address)} broke off ({reason}); {_size(part) / 1e6:.0f} MB of "
                f"{entry.name} are here. Check the internet connection and click Download again: it "
                "goes on from there.",
                code="download-broken-off",
            )
        time.sleep(pause * failures)


def _connect(entry: Published, part: Path, progress: Progress, account: tuple[str, str] | None) -> bool:
    """One connection; returns whether ``part`` is complete after it."""
    have, validator = _size(part), _server_record(part)[0]
    request = urllib.request.Request(entry.address, headers={"User-Agent": "wham_blender"})  # noqa: S310 - checked
    if account:
        form = {"username": account[0], "password": account[1]}
        request.data = urllib.parse.urlencode(form).encode()
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    try:
        answer = urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file, or of another version
            _remove(part)
        raise
    with answer:
        if answer.status != 206 or _first_byte(answer) != have:
            have = 0
        total = _total(answer, have)
        _check_answer(entry, answer, have, total, part)
        version = answer.headers["ETag"] or answer.headers["Last-Modified"] or ""
        _record_path(part).write_text(json.dumps([version, total]), "utf-8")
        with part.open("ab" if have else "wb") as stream:
            progress(have, total)
            while block := answer.read(_BLOCK):
                if not have and contents.is_page(block):
                    raise _web_page(entry)
                stream.write(block)
                have += len(block)
                progress(have, total)
    if total and have > total:
        _remove(part)
        raise WeightsError(
            f"{_host(entry.address)} sent more than it had announced of {entry.name}. Try again later.",
            code="download-damaged",
        )
    return have == total if total else True


def _check_answer(entry: Published, answer: Any, have: int, total: int, part: Path) -> None:
    """Refuse a web page, a file of another size, and one that does not fit on the disk, before anything is written."""
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _web_page(entry)
    if entry.size and total and total != entry.size:
        _remove(part)
        raise WeightsError(
            f"{entry.name} at {_host(entry.address)} has {total / 1e6:.1f} MB instead of {entry.size / 1e6:.1f}: it is "
            "not the file that this add-on knows. Open the page and download it by hand.",
            code="download-wrong-file",
        )
    free = shutil.disk_usage(part.parent).free
    if total - have > free:
        raise WeightsError(
            f"{entry.name} needs {(total - have) / 1e9:.1f} GB and {part.parent} has {free / 1e9:.1f} GB left. "
            "Make room there, or choose another folder.",
            code="download-not-writable",
        )


def _check_hash(entry: Published, part: Path) -> None:
    if not entry.sha256:
        return
    if sha256_of(part) != entry.sha256:
        _remove(part)
        raise WeightsError(
            f"{entry.name} arrived damaged, or is not the file that this add-on knows: its SHA-256 is not the one in "
            "the list. It was deleted; click Download to try again.",
            code="download-damaged",
        )


def _unpack(entry: Published, archive: Path, target: Path) -> Path:
    """Extract the wanted file from a zip, in whichever folder of it; no name in the zip is used as a path."""
    try:
        with zipfile.ZipFile(archive) as files:
            (member,) = [info for info in files.infolist() if info.filename.rpartition("/")[2] == entry.member]
            with files.open(member) as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream, _BLOCK)
        return target
    except (zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(
            f"What {_host(entry.address)} sent does not hold {entry.member}. Open the page and download it by hand.",
            code="download-wrong-file",
        ) from error


def _web_page(entry: Published) -> WeightsError:
    if entry.account:
        return _not_signed_in(entry, "with a web page")
    return WeightsError(
        f"{_host(entry.address)} answered with a web page instead of {entry.name}: perhaps it wants you to sign in, "
        "or too many people downloaded the file today. Open the page and download it by hand, then choose the file.",
        code="download-refused",
    )


def _refused(entry: Published, status: int) -> WeightsError:
    if status in (401, 403) and entry.account:
        return _not_signed_in(entry, str(status))
    return WeightsError(
        f"{_host(entry.address)} does not give out {entry.name} (it answered {status}). Open the page and download it "
        "by hand.",
        code="download-refused",
    )


def _not_signed_in(entry: Published, answer: str) -> WeightsError:
    return WeightsError(
        f"{_host(entry.address)} did not accept the name and password: it answered {answer}. Check both, and on its "
        "page that your account has agreed to the licence.",
        code="download-account-refused",
    )


def _check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise WeightsError(
            f"{parts.hostname or address} asks for a connection that is not encrypted. It was refused.",
            code="download-not-encrypted",
        )


def _first_byte(answer: Any) -> int:
    """The first byte of a partial answer, from ``bytes 100-199/200``."""
    first = (answer.headers["Content-Range"] or "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1


def _total(answer: Any, have: int) -> int:
    length = answer.headers["Content-Length"] or ""
    return have + int(length) if length.isdecimal() else 0


def _server_record(part: Path) -> tuple[str, int]:
    """Version and length of the file as the server sent them; empty and 0 if it did not."""
    try:
        version, total = json.loads(_record_path(part).read_text("utf-8"))
        return str(version), int(total)
    except (OSError, ValueError, TypeError):
        return "", 0


def _record_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _host(address: str) -> str:
    return urllib.parse.urlsplit(address).hostname or address


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    _record_path(part).unlink(missing_ok=True)
