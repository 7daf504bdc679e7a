"""Downloads one file: resumes after an interruption, and checks the file before it is used. Standard library only.

An incomplete file lies beside the target as NAME.part, with its version and length from the server in NAME.part.json.
It is kept only where the next call can go on with it.
"""

from __future__ import annotations

import dataclasses
import errno
import http.client
import json
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from .. import archives, limits, records
from ..files import sha256_of
from . import Published, WeightsError, contents

Progress = Callable[[int, int], None]  # bytes downloaded, and the file's size (0: not known)

_BLOCK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 5  # in a row without a byte
_LOCAL = ("localhost", "127.0.0.1", "::1")
_BUSY = (408, 416, 429, 500, 502, 503, 504)  # answers after which another attempt may succeed
_RESUMABLE = ("download-broken-off", "download-not-writable")  # codes of errors after which the part is of use
_IN_THE_WAY = (errno.EISDIR, errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY)


class _BrokenOff(Exception):
    """A connection failed in a way that another attempt may mend; the text says how."""


@dataclasses.dataclass(frozen=True)
class _Sent:
    """What the server said of the file, stored in NAME.part.json."""

    version: Annotated[str, records.AtMost(1000)] = ""  # of the file: its ETag or date; empty: not known
    size: Annotated[int, records.Within(0, 1 << 53)] = 0  # bytes; 0: not known

    @property
    def resumable(self) -> bool:
        """Whether a later call can go on with the part."""
        return bool(self.version and self.size)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not from HTTPS to HTTP, and without reading what comes with them."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()  # urllib would read all of it, however long it is
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

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
    name = Path(urllib.parse.urlsplit(entry.address).path).name + ".zip" if entry.member else entry.name
    part = folder / f"{name}.part"
    try:
        with _sentences(entry, folder):
            folder.mkdir(parents=True, exist_ok=True)
            for path in (target, part, _record_path(part), _part_of(target)):
                if path.exists() and not path.is_file():
                    raise OSError(errno.EEXIST, "it is no file", str(path))
            _fetch(entry, part, progress, account, pause)
            _check_hash(entry, part)
            _install(entry, part, target)
        for other in also if entry.member else ():
            with suppress(WeightsError), _sentences(other, folder):
                _install(other, part, folder / other.name)
    except WeightsError as error:
        if error.code not in _RESUMABLE or not _sent(part).resumable:
            _remove(part)
        raise
    _remove(part)
    return target


@contextmanager
def _sentences(entry: Published, folder: Path) -> Iterator[None]:
    """Raises every OSError of the block as WeightsError; those of the connection are raised by `_network`."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or str(error) or type(error).__name__
        if error.errno in _IN_THE_WAY:
            place = error.filename2 or error.filename or folder / entry.name
            raise WeightsError(
                f"{entry.name} cannot be written: {place} is in the way ({cause}). Move or delete that, or choose "
                "another folder.",
                code="download-not-writable",
            ) from error
        raise WeightsError(
            f"{entry.name} cannot be written to {folder}: {cause}. Make room there, or choose another folder.",
            code="download-not-writable",
        ) from error


@contextmanager
def _network(entry: Published) -> Iterator[None]:
    """Raises whatever a connection fails with as _BrokenOff, or WeightsError where another attempt would not help."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if error.code not in _BUSY:
            raise _refused(entry, error.code) from error
        raise _BrokenOff(_shown(str(error))) from error
    except (ValueError, http.client.InvalidURL) as error:  # a redirection's address, or that of a proxy
        raise WeightsError(
            f"The way to {_host(entry.address)} leads over an address that is not valid ({_shown(str(error))}). Check "
            "the address of the proxy, if one is set; or open the page and download the file by hand.",
            code="download-refused",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise WeightsError(
                f"The certificate of {_host(entry.address)} is not valid ({_shown(cause.verify_message)}), so another "
                "computer may answer in its place. Check this computer's date, and whether a proxy or virus scanner "
                "reads encrypted connections; or open the page and download the file by hand.",
                code="download-not-encrypted",
            ) from error
        raise _BrokenOff(_shown(str(cause) or type(cause).__name__)) from error


def _fetch(entry: Published, part: Path, progress: Progress, account: tuple[str, str] | None, pause: float) -> None:
    """Complete ``part``, with as many connections as it takes."""
    failures = 0
    while not _size(part) or _size(part) != _sent(part).size:
        before = _size(part)
        try:
            if _connect(entry, part, progress, account):
                return
            reason = "it ended too early"
        except _BrokenOff as error:
            reason = str(error)
        failures = 0 if _size(part) > before else failures + 1
        if failures >= _ATTEMPTS:
            again = "it continues from there" if _sent(part).resumable else "it starts from the beginning"
            raise WeightsError(
                f"The connection to {_host(entry.address)} broke off ({reason}); {_size(part) / 1e6:.0f} MB of "
                f"{entry.name} are here. Check the internet connection and click Download again: {again}.",
                code="download-broken-off",
            )
        time.sleep(pause * failures)


def _connect(entry: Published, part: Path, progress: Progress, account: tuple[str, str] | None) -> bool:
    """One connection; returns whether ``part`` is complete after it. Raises _BrokenOff, WeightsError and OSError."""
    have, validator = _size(part), _sent(part).version
    with _network(entry):
        _check_address(entry.address)
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
        if answer.status != 206:
            have = 0
        elif _first_byte(answer) != have:
            _remove(part)
            raise _BrokenOff("it sent another part of the file than was asked for")
        total = have + answer.length if answer.length is not None else entry.size  # .length is parsed and checked
        _check_answer(entry, answer, have, total, part)
        version = answer.headers["ETag"] or answer.headers["Last-Modified"] or ""
        _record_path(part).write_text(json.dumps(dataclasses.asdict(_Sent(version, total))), "utf-8")
        with part.open("ab" if have else "wb") as stream:
            progress(have, total)
            for block in _blocks(entry, answer):
                if not have and contents.is_page(block):
                    raise _web_page(entry)
                have += len(block)
                if have > (most := total or limits.DOWNLOAD_BYTES):
                    raise _too_large(entry, most)
                _write(stream, block, part.parent)
                progress(have, total)
    return have == total if total else True


def _blocks(entry: Published, answer: Any) -> Iterator[bytes]:
    while True:
        with _network(entry):
            block = answer.read(_BLOCK)
        if not block:
            return
        yield block


def _write(stream: BinaryIO, block: bytes, folder: Path) -> None:
    """Write a block unless the disk is nearly full, as other programs write to it meanwhile. Raises OSError."""
    _check_room(len(block), folder)
    stream.write(block)


def _check_room(needed: int, folder: Path) -> None:
    """Raises OSError if a folder's disk has not so many bytes to spare."""
    free = shutil.disk_usage(folder).free - limits.DISK_RESERVE_BYTES
    if needed > free:
        missing = f"{needed / 1e9:.2f} GB are needed and {max(free, 0) / 1e9:.2f} GB can be spared"
        raise OSError(errno.ENOSPC, missing, str(folder))


def _check_answer(entry: Published, answer: Any, have: int, total: int, part: Path) -> None:
    """Refuse a web page, a file of another size, and one that does not fit on the disk, before anything is written."""
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _web_page(entry)
    if entry.size and total and total != entry.size:
        raise WeightsError(
            f"{entry.name} at {_host(entry.address)} has {total / 1e6:.1f} MB instead of {entry.size / 1e6:.1f}: it is "
            "not the file that this add-on knows. Open the page and download it by hand.",
            code="download-wrong-file",
        )
    if total > limits.DOWNLOAD_BYTES:
        raise _too_large(entry, limits.DOWNLOAD_BYTES)
    _check_room(total - have, part.parent)


def _check_hash(entry: Published, part: Path) -> None:
    if not entry.sha256:
        return
    if sha256_of(part) != entry.sha256:
        raise WeightsError(
            f"{entry.name} arrived damaged, or is not the file that this add-on knows: its SHA-256 is not the one in "
            "the list. It was deleted; click Download to try again.",
            code="download-damaged",
        )


def _install(entry: Published, downloaded: Path, target: Path) -> None:
    """Unpack the file if it lies in an archive, and put it in its place if it is what it should be."""
    part = downloaded
    try:
        if entry.member:
            part = _part_of(target)
            _unpack(entry, downloaded, part)
        content = contents.recognise(part)
        if content.role != entry.kind:
            raise WeightsError(
                f"What {_host(entry.address)} sent as {entry.name} is not {entry.title}: it seems to be "
                f"{content.description}. Open the page and download the file by hand.",
                code="download-wrong-file",
            )
        part.replace(target)
    finally:
        if entry.member:
            _remove(part)


def _unpack(entry: Published, archive: Path, target: Path) -> None:
    """Extract the wanted file from a zip, in whichever folder of it; no name in the zip is used as a path."""
    try:
        with archives.opened(archive) as files:
            members = [info for info in files.infolist() if info.filename.rpartition("/")[2] == entry.member]
            if len(members) != 1:
                raise archives.UnreadableArchive(f"it has {len(members)} files of that name")
            (member,) = members
            if member.file_size > limits.MEMBER_BYTES:
                raise archives.UnreadableArchive(f"it unpacks to {member.file_size / 1e9:.1f} GB")
            _check_room(member.file_size, target.parent)
            with files.open(member) as source, target.open("wb") as stream:
                while block := source.read(_BLOCK):  # not more than file_size, whatever the member holds
                    _write(stream, block, target.parent)
    except archives.UnreadableArchive as error:
        raise WeightsError(
            f"What {_host(entry.address)} sent does not hold {entry.member}, or it cannot be unpacked "
            f"({_shown(str(error))}). Open the page and download it by hand.",
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


def _too_large(entry: Published, most: int) -> WeightsError:
    return WeightsError(
        f"What {_host(entry.address)} sends as {entry.name} is larger than {most / 1e9:.1f} GB, so it is another file. "
        "It was deleted; open the page and download the file by hand.",
        code="download-wrong-file",
    )


def _check_address(address: str) -> None:
    """Raises WeightsError for a connection that is not encrypted, ValueError for an address that is not valid."""
    parts = urllib.parse.urlsplit(address)
    if not parts.hostname or parts.port == 0:  # .port raises ValueError
        raise ValueError("it names no computer")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise WeightsError(
            f"{parts.hostname} asks for a connection that is not encrypted. It was refused.",
            code="download-not-encrypted",
        )


def _first_byte(answer: Any) -> int:
    """The first byte of a partial answer, from ``bytes 100-199/200``; -1 if it is not given."""
    first = (answer.headers["Content-Range"] or "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() and len(first) < 16 else -1


def _sent(part: Path) -> _Sent:
    """Version and length of the file as the server sent them; empty and 0 if it did not."""
    try:
        sent = records.load(_record_path(part), _Sent, limits.SETTINGS_BYTES)
    except (OSError, records.InvalidRecord):
        return _Sent()
    # Anything else cannot be sent back in a header.
    return sent if sent.version.isascii() and sent.version.isprintable() else _Sent()


def _part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _record_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _host(address: str) -> str:
    return urllib.parse.urlsplit(address).hostname or address


def _shown(text: str) -> str:
    """Another computer's words as they are quoted in an error: short, and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:100])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _remove(part: Path) -> None:
    """Delete a part and its record. Never fails: that would hide the error after which they are deleted."""
    for path in (part, _record_path(part)):
        with suppress(OSError):
            path.unlink(missing_ok=True)
