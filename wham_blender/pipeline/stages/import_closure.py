"""Finds every module of this package that a module imports, directly or indirectly: a stage's source files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def import_closure(module: Path, package: Path, excluded: Path | None = None) -> list[Path]:
    """Files of ``package`` that ``module`` imports, itself first, then sorted by path.

    ``module``: a source file; ``package``: the folder of the package, of any name. All relative imports are followed,
    those inside functions and ``if TYPE_CHECKING``, too; imports of other packages are not. The ``__init__.py`` of a
    package is included, since Python runs it first. Files in the folder ``excluded`` are not followed.
    """
    found: dict[Path, None] = {}
    pending = [module]
    while pending:
        path = pending.pop()
        if path in found or (excluded is not None and path.is_relative_to(excluded)):
            continue
        found[path] = None
        pending += _imported(path, package)
    return [module, *sorted(found.keys() - {module})]


def _imported(module: Path, package: Path) -> Iterator[Path]:
    """Files that the import statements of one module refer to."""
    for level, name, imported in _relative_imports(module.read_bytes()):
        base = module.parents[level - 1]
        for part in name.split("."):
            yield from _package_files(base, package)
            base = base / part if part else base
        yield from _package_files(base, package)
        yield from _module_file(base, package)
        for alias in imported:  # a module, a package or a name that the module defines
            yield from _module_file(base / alias, package)
            yield from _package_files(base / alias, package)


@cache  # the stages' closures overlap: most modules are in all six
def _relative_imports(source: bytes) -> list[tuple[int, str, list[str]]]:
    """The relative imports of a module: number of dots, name after them, and the imported names."""
    return [
        (node.level, node.module or "", [alias.name for alias in node.names])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def _module_file(path: Path, package: Path) -> Iterator[Path]:
    file = path.with_name(f"{path.name}.py")
    if file.is_relative_to(package) and file.is_file():
        yield file


def _package_files(folder: Path, package: Path) -> Iterator[Path]:
    file = folder / "__init__.py"
    if file.is_relative_to(package) and file.is_file():
        yield file
