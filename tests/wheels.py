"""Tiny wheels for tests of installing."""

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path


def make_wheel(path: Path, size: int = 1000) -> str:
    """Write a wheel of one module, named after the file; the entry of a lock that allows it alone."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n" + "#" * size,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/RECORD", "".join(map(_record, files, files.values())) + f"{info}/RECORD,,\n")
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _record(file: str, text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{file},sha256={digest},{len(text)}\n"


def installed_wheel(name: str, folder: Path) -> str:
    """Write a wheel of a package as it is installed here, into a folder; the entry of a lock that allows it alone."""
    package = distribution(name)
    files = [
        file
        for file in package.files or []
        if ".." not in file.parts and file.suffix != ".pyc" and file.name != "RECORD"
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{package.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in files:
            wheel.write(str(package.locate_file(file)), str(file))
        wheel.writestr(f"{name}-{package.version}.dist-info/RECORD", "".join(f"{file},,\n" for file in files))
    return f"{name}=={package.version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
