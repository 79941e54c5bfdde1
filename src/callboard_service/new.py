"""Implements `callboard new PATH`: writes an example package with one actor type of each kind."""

import ast
import keyword
import re
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from callboard_service.errors import BadPath, describe_os_error

PACKAGE: Final = "PACKAGE"
DISTRIBUTION: Final = "DISTRIBUTION"
SUFFIX: Final = ".txt"
"""Suffix of the template's files, so that no tool takes them for Python or Markdown files."""

_SERIALIZED: Final = re.compile(r"AddSerializedFile\((b'.*')\)")
_OFFSETS: Final = re.compile(r"  _globals\['_([A-Z]+)'\]\._serialized_(start|end)=\d+")


def create(path: Path) -> list[Path]:
    """Write the package into `path`, a new or empty folder; return the files. Raises BadPath."""
    try:
        name = path.resolve().name
    except OSError as error:
        raise BadPath(f"{path}: {describe_os_error(error)}") from error
    distribution = name.lower().replace("_", "-").replace(" ", "-")
    package = distribution.replace("-", "_")
    _check(path, package)
    try:
        return [
            _write(path / _named(name, package), _fill(source, package, distribution))
            for name, source in _template(files("callboard_service") / "template", "")
        ]
    except OSError as error:
        raise BadPath(f"{error.filename}: {error.strerror}") from error


def _check(path: Path, package: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package) or keyword.iskeyword(package):
        raise BadPath(f"{path}: {package!r} is not a package name (letters, digits, - and _)")
    taken = package in sys.stdlib_module_names or package in ("google", "src", "tests")
    if taken or find_spec(package) is not None:
        raise BadPath(f"{path}: a module {package} exists already; choose another name")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BadPath(f"{path}: exists and is not an empty folder")


def _template(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _template(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            name = prefix + entry.name.removesuffix(SUFFIX)
            found.append((name, entry.read_text(encoding="utf-8")))
    return found


def _named(name: str, package: str) -> str:
    return name.replace(PACKAGE, package).replace("gitignore", ".gitignore")


def _fill(source: str, package: str, distribution: str) -> str:
    if _SERIALIZED.search(source):
        return _rename_descriptor(source, package)
    return source.replace(PACKAGE, package).replace(DISTRIBUTION, distribution)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


# -- generated code ------------------------------------------------------------------------------


def _rename_descriptor(source: str, package: str) -> str:
    """Return the module that protoc would generate from the .proto file under the new name.

    The service does not require protoc. Generated modules contain the serialized descriptor with
    its lengths and offsets, so the name cannot be replaced as text. A test compares the result with
    the output of protoc.
    """
    match = _SERIALIZED.search(source)
    assert match is not None
    file = FileDescriptorProto.FromString(ast.literal_eval(match[1]))
    file.name = file.name.replace(PACKAGE, package)
    file.package = file.package.replace(PACKAGE, package)
    for message in file.message_type:
        for field in message.field:
            field.type_name = field.type_name.replace(PACKAGE, package)
            if not field.type_name:
                field.ClearField("type_name")
    serialized = file.SerializeToString(deterministic=True)
    places = {
        message.name.upper(): message.SerializeToString(deterministic=True)
        for message in file.message_type
    }

    def place(found: re.Match[str]) -> str:
        message = places[found[1]]
        at = serialized.index(message)
        at += len(message) if found[2] == "end" else 0
        return f"  _globals['_{found[1]}']._serialized_{found[2]}={at}"

    start, end = match.span(1)
    text = f"{source[:start]}b'{escape(serialized)}'{source[end:]}"
    return _OFFSETS.sub(place, text).replace(PACKAGE, package)


def escape(data: bytes) -> str:
    """Return the bytes escaped as protoc writes them into a literal (absl::CHexEscape)."""
    named = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x22: '\\"', 0x27: "\\'", 0x5C: "\\\\"}
    parts: list[str] = []
    after_hex = False
    for byte in data:
        character = chr(byte)
        if byte in named:
            parts.append(named[byte])
            after_hex = False
        elif not 0x20 <= byte < 0x7F or (after_hex and character in "0123456789abcdefABCDEF"):
            parts.append(f"\\x{byte:02x}")
            after_hex = True
        else:
            parts.append(character)
            after_hex = False
    return "".join(parts)
