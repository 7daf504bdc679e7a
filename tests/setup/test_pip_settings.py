"""The user's settings of pip: indexes, proxies and certificates apply to the worker's packages, nothing else does.

Real processes of pip, the one that Python brings and the one in the worker's lock, against servers on this machine.
"""

import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.setup.conftest import BASE, Index
from tests.wheels import installed_wheel
from wham_blender.addon.worker import installer, pip, python_environment
from wham_blender.addon.worker.python_environment import WorkerError

pytestmark = pytest.mark.usefixtures("data")
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="makes the certificate")


@pytest.fixture
def configure(index, tmp_path, monkeypatch):
    """Writes the user's file of settings; a setting ``install.user`` goes into the section install."""
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.delenv("PIP_TRUSTED_HOST")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    def write(**settings):
        lines = [f"{name.replace('_', '-')} = {value}\n" for name, value in settings.items()]
        (tmp_path / "pip.conf").write_text("[global]\nretries = 0\n" + "".join(lines), "utf-8")

    return write


def failure(code):
    """The sentence of an installation that fails with a code."""
    with pytest.raises(WorkerError) as caught:
        installer.install(BASE, "AUTO")
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def is_installed(name="tiny"):
    return list(python_environment.worker_folder().glob(f"[Ll]ib/**/site-packages/{name}.py")) != []


@pytest.mark.parametrize(
    "setting",
    [
        "user=true", "target=/x", "prefix=/x", "root=/x", "require-virtualenv=true", "constraint=/nowhere.txt",
        "no-binary=:all:", "cache-dir=/dev/null/x", "no-cache-dir=true", "log=/nowhere/pip.log", "quiet=3",
        "dry-run=true", "python-version=2.7", "isolated=true", "require-hashes=true", "progress-bar=off",
    ],
)  # fmt: skip
def test_settings_of_where_and_how_do_not_apply(index, packages, configure, monkeypatch, tmp_path, setting):
    """Neither from the file nor from a variable."""
    name, value = setting.split("=")
    value = value.replace("/x", str(tmp_path / "elsewhere"))
    configure(index_url=f"{index.address}/simple", **{name: value})
    monkeypatch.setenv(f"PIP_{name.upper().replace('-', '_')}", value)
    packages(index.add("tiny"))
    installer.install(BASE, "AUTO")
    assert is_installed()
    assert not (tmp_path / "elsewhere").exists()


def test_the_sections_go_before_each_other(index, packages, configure, monkeypatch, tmp_path, environment):
    configure(index_url="http://a/simple", timeout=3)
    with (tmp_path / "pip.conf").open("a") as file:
        file.write("[install]\nindex-url = http://b/simple\nuser = true\nextra-index-url =\n  http://c\n  http://d\n")
    python = python_environment.python_of(environment)
    found = pip.settings(python)
    assert found["index-url"] == "http://b/simple"
    assert found["extra-index-url"].split() == ["http://c", "http://d"]
    assert (found["timeout"], "user" in found) == ("3", False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://e/simple")
    monkeypatch.setenv("PIP_USER", "1")
    assert pip.settings(python)["index-url"] == "http://e/simple"
    variables = pip.environment({"index-url": "http://e/simple"})
    assert {name for name in variables if name.startswith("PIP_")} == {"PIP_CONFIG_FILE", "PIP_INDEX_URL"}


def test_an_index_of_one_s_own_and_a_second_one(index, packages, configure):
    packages(index.add("tiny"), index.add("small", place="second"))
    configure(index_url=f"{index.address}/simple", extra_index_url=f"{index.address}/second")
    installer.install(BASE, "AUTO")
    assert is_installed("tiny")
    assert is_installed("small")


def test_an_index_that_lacks_a_package_is_named(index, packages, configure):
    configure(index_url=f"http://user:secret@{index.address.removeprefix('http://')}/other")
    packages(index.add("tiny"))
    sentence = failure("package-index-incomplete")
    assert f"The package index {index.address.removeprefix('http://')}, which pip is set up with, lacks" in sentence


def test_an_index_with_a_password(index, packages, configure, capfd):
    packages(index.add("tiny"))
    index.account = "anna:secret"
    address = index.address.removeprefix("http://")
    configure(index_url=f"{index.address}/simple")
    assert f"The package index {address} asks for a user name and password" in failure("package-index-password")
    configure(index_url=f"http://anna:wrong@{address}/simple")
    failure("package-index-password")
    configure(index_url=f"http://anna:secret@{address}/simple")
    installer.install(BASE, "AUTO")
    assert is_installed()
    out, err = capfd.readouterr()
    assert "secret" not in out + err
    assert "wrong" not in out + err


def test_an_index_that_is_not_encrypted(index, packages, configure):
    packages(index.add("tiny"))
    configure(index_url="http://packages.invalid/simple")
    assert "The package index packages.invalid is not used, because" in failure("package-index-not-encrypted")


def test_no_index(index, packages, configure, tmp_path):
    packages(index.add("tiny"))
    configure(no_index="true")
    assert "pip is set up to use no package index (no-index)" in failure("pip-no-index")
    configure(no_index="true", find_links=tmp_path / "index/simple/tiny")
    installer.install(BASE, "AUTO")
    assert is_installed()
    assert index.fetched == []


@pytest.mark.parametrize("place", ["file", "variable"])
def test_a_proxy(index, packages, configure, monkeypatch, place):
    """The index's name leads nowhere without it."""
    packages(index.add("tiny"))
    address = {"index_url": "http://packages.invalid/simple", "trusted_host": "packages.invalid"}
    configure(**address, **({"proxy": index.address} if place == "file" else {}))
    if place == "variable":
        monkeypatch.setenv("HTTP_PROXY", index.address)
    installer.install(BASE, "AUTO")
    assert index.fetched == ["tiny"]


@pytest.fixture
def refusing_proxy():
    """A proxy that asks for a password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(407)

        do_CONNECT = do_GET

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("pip_version", ["bundled", "locked"])
def test_a_proxy_with_a_password(index, packages, configure, refusing_proxy, pip_version):
    packages(*upgraded(pip_version, index), index.add("tiny"))
    for address in ("https://packages.invalid/simple", "http://packages.invalid/simple"):
        proxy = f"http://anna:secret@{refusing_proxy}"
        configure(index_url=address, proxy=proxy, trusted_host="packages.invalid")
        sentence = failure("proxy-password")
        assert f"The proxy {refusing_proxy} asks for a user name and password. Write both" in sentence


@pytest.mark.parametrize("pip_version", ["bundled", "locked"])
def test_a_proxy_that_is_not_there(index, packages, configure, monkeypatch, pip_version):
    packages(*upgraded(pip_version, index), index.add("tiny"))
    configure(index_url="https://packages.invalid/simple", proxy="http://127.0.0.1:9")
    assert "The proxy 127.0.0.1:9 does not answer" in failure("proxy-unreachable")
    configure(index_url="https://packages.invalid/simple")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    assert "The proxy proxy.invalid:3128 does not answer" in failure("proxy-unreachable")


def upgraded(pip_version, index):
    """Entries of a lock with which the worker's own pip runs, and not the one that Python brings; it is put there."""
    if pip_version == "bundled":
        return []
    entry = installed_wheel("pip", index.folder / "simple/pip")
    environment = python_environment.worker_folder()
    installer._make_environment(BASE, environment, python_environment.probe(BASE))
    command = [str(python_environment.python_of(environment)), "-I", "-m", "pip", "install", "--no-index", "--no-deps"]
    subprocess.run(
        [*command, *map(str, (index.folder / "simple/pip").glob("*.whl"))], check=True, capture_output=True,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip
    started = {"build": "pypi", "python": ".".join(map(str, python_environment.probe(BASE).version[:2]))}
    (environment / python_environment.STARTED).write_text(str(started).replace("'", '"'), "utf-8")
    return [entry]


@pytest.fixture
def encrypted(tmp_path):
    """An index behind a certificate that nobody vouches for, as a proxy shows one that reads encrypted connections."""
    key, certificate = tmp_path / "key.pem", tmp_path / "company.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -days 2"
    )
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    served = Index(tmp_path / "index", (certificate, key))
    yield served
    served.server.shutdown()
    served.server.server_close()


@needs_openssl
@pytest.mark.parametrize("pip_version", ["bundled", "locked"])
def test_an_intercepting_certificate(encrypted, index, packages, configure, monkeypatch, tmp_path, pip_version):
    host = encrypted.address.removeprefix("https://")
    packages(*upgraded(pip_version, encrypted), encrypted.add("tiny"))
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{encrypted.address}/simple")
    assert f"The certificate of {host} is not trusted. A company's proxy" in failure("package-index-certificate")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone.pem"))
    assert f"certificates {tmp_path / 'gone.pem'}, which pip is set up with, is" in failure("pip-certificate-missing")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "company.pem"))
    installer.install(BASE, "AUTO")
    assert is_installed()


@needs_openssl
@pytest.mark.parametrize("pip_version", ["bundled", "locked"])
def test_a_certificate_in_the_system_s_store(encrypted, index, packages, monkeypatch, tmp_path, pip_version):
    """The pip that Python 3.11 brings does not look there by itself."""
    packages(*upgraded(pip_version, encrypted), encrypted.add("tiny"))
    monkeypatch.setenv("PIP_INDEX_URL", f"{encrypted.address}/simple")
    monkeypatch.delenv("PIP_TRUSTED_HOST")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))  # as OpenSSL is told where the store is
    installer.install(BASE, "AUTO")
    assert is_installed()


def test_settings_that_pip_cannot_read(index, packages, configure, tmp_path, capsys):
    packages(index.add("tiny"))
    (tmp_path / "pip.conf").write_text("https://anna:secret@x/simple\n", "utf-8")
    installer.install(BASE, "AUTO", str(tmp_path / "index/simple/tiny"))
    assert is_installed()
    out = capsys.readouterr().out
    assert "pip's settings cannot be read, so packages are installed without them" in out
    assert "https://****@x/simple" in out
    assert "secret" not in out


def test_a_number_that_is_none(index, packages, configure):
    packages(index.add("tiny"))
    configure(index_url=f"{index.address}/simple", timeout="never")
    installer.install(BASE, "AUTO")
    assert is_installed()


def test_a_failing_uv_does_not_hide_that_pip_knows_the_proxy(index, packages, configure, tmp_path, monkeypatch):
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho 'error: Failed to fetch: error sending request'; exit 2\n", "utf-8")
    uv.chmod(0o755)
    monkeypatch.setattr(installer.shutil, "which", lambda name: str(uv))
    packages(index.add("tiny"))
    address = {"index_url": "http://packages.invalid/simple", "trusted_host": "packages.invalid"}
    configure(**address, proxy=index.address)
    installer.install(BASE, "AUTO")
    assert is_installed()
