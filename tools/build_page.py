"""Builds the page that the service serves: Python for the browser, the page's code, and styles.

What is put together, all of it compressed and below a name that changes with the content:

- Pyodide and its loader, from web/node_modules (`npm ci`);
- the modules that the page imports (`callboard_page`, of `transport` and `actors` only what the
  reference client needs, the contract, protobuf, markdown-it-py, Pygments), as one zip file;
- web/index.html for each page, web/style.css and web/icon.svg.
"""

import argparse
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
WEB: Final = ROOT / "web"
SOURCES: Final = ROOT / "src"
BUILT: Final = SOURCES / "callboard_service" / "page"
"""Where the service looks for it."""

PAGES: Final = ("index", "board")

PYODIDE: Final = (
    "pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"
)  # fmt: skip

OWN: Final = (
    "callboard_page",
    "callboard",
    "transport/__init__.py",
    "transport/codes.py",
    "transport/errors.py",
    "transport/client",
    "actors/protocol/__init__.py",
    "actors/protocol/close_codes.py",
    "actors/protocol/failure.py",
    "actors/runtime/__init__.py",
    "actors/runtime/clock.py",
)
"""Of `actors` without its own `__init__`, which would import all of the runtime."""

NOT_IN_A_BROWSER: Final = frozenset({"transport/client/socket.py"})

LIBRARIES: Final = {
    "protobuf": "google/protobuf/",
    "markdown-it-py": "markdown_it/",
    "mdurl": "mdurl/",
    "Pygments": "pygments/",
}
"""The distributions whose modules the page carries, and where these are."""

LEXERS: Final = frozenset(
    {
        "__init__", "_cl_builtins", "_css_builtins", "_julia_builtins", "_lua_builtins",
        "_luau_builtins", "_mapping", "_mysql_builtins", "_php_builtins", "_postgres_builtins",
        "_scheme_builtins", "_sql_builtins", "_tsql_builtins", "asm", "basic", "c_cpp", "c_like",
        "clojure", "compiled", "configs", "console", "css", "d", "data", "devicetree", "diff",
        "dotnet", "dsls", "elixir", "erlang", "fortran", "functional", "go", "graphql", "haskell",
        "html", "javascript", "json5", "julia", "jvm", "lisp", "lua", "make", "markup", "matlab",
        "ml", "nix", "objective", "pascal", "perl", "php", "python", "r", "ruby", "rust",
        "scripting", "shell", "solidity", "special", "sql", "swift", "tcl", "templates", "text",
        "toml", "typescript", "web", "wgsl", "zig",
    }
)  # fmt: skip
"""The modules of Pygments' lexers that the page carries; other languages have no colours."""

LEFT_OUT: Final = (
    "google/protobuf/_upb", "google/protobuf/compiler/", "google/protobuf/pyext/",
    "google/protobuf/testdata/", "google/protobuf/util/", "markdown_it/cli/",
    "pygments/formatters/",
    "pygments/sphinxext.py", "pygments/styles/", "_benchmark.py", "testing_refleaks.py",
)  # fmt: skip


def main() -> int:
    """Build the page; return 0, or 2 if the files of npm are not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, default=BUILT, help="the folder; it is replaced")
    into: Path = parser.parse_args().into
    modules = WEB / "node_modules"
    if not (modules / "pyodide").is_dir():
        print("web/node_modules is not there: run `npm ci` in web/", file=sys.stderr)
        return 2
    files = {name: (modules / "pyodide" / name).read_bytes() for name in PYODIDE}
    for path in sorted((modules / "polyscript" / "dist").glob("*.js")):
        files[f"polyscript/{path.name}"] = path.read_bytes()
    for name in ("style.css", "icon.svg", "start.py"):
        files[name] = (WEB / name).read_bytes()
    files["code.zip"] = _compiled(_code())
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    version = digest.hexdigest()[:16]
    shutil.rmtree(into, ignore_errors=True)
    for name, content in files.items():
        _write(into / version / name, content)
    html = (WEB / "index.html").read_text().replace("{files}", f"/page/{version}")
    for page in PAGES:
        _write(into / f"{page}.html", html.encode())
    size = sum(path.stat().st_size for path in into.rglob("*.gz"))
    print(f"Built the page: {size / 1e6:.1f} MB in {_shown(into)}")
    return 0


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No time in it, so that the same content gives the same file.
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, 9, mtime=0))


def _code() -> bytes:
    """Return the zip file of all modules. It is not compressed: the whole file will be."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, path in sorted(_modules()):
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()


_COMPILER: Final = """
import { readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "PYODIDE";
const [source, target] = process.argv.slice(-2);
const pyodide = await loadPyodide();
pyodide.FS.writeFile("code.zip", readFileSync(source));
pyodide.runPython(`COMPILE`);
writeFileSync(target, pyodide.FS.readFile("compiled.zip"));
"""

_COMPILE: Final = """
import importlib.util, marshal, zipfile
with zipfile.ZipFile("code.zip") as sources, zipfile.ZipFile("compiled.zip", "w") as target:
    for name in sorted(sources.namelist()):
        code = compile(sources.read(name), name, "exec", dont_inherit=True, optimize=1)
        # PEP 552: a file that is never checked against its source.
        header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
        target.writestr(zipfile.ZipInfo(name + "c"), header + marshal.dumps(code))
"""


def _compiled(code: bytes) -> bytes:
    """Return the zip file with bytecode for the browser's Python in place of the sources.

    Pyodide itself compiles them, in Node: a third of the time until the page is there would be
    compiling them in the browser, at each visit.
    """
    pyodide = (WEB / "node_modules" / "pyodide" / "pyodide.mjs").as_uri()
    script = _COMPILER.replace("PYODIDE", pyodide).replace("COMPILE", _COMPILE)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "code.zip", Path(folder) / "compiled.zip"
        source.write_bytes(code)
        command = ["node", "--input-type=module", "--eval", script, "--", str(source), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return target.read_bytes()


def _modules() -> Iterator[tuple[str, Path]]:
    for part in OWN:
        found = SOURCES / part
        for path in [found] if found.is_file() else found.rglob("*.py"):
            name = path.relative_to(SOURCES).as_posix()
            if name not in NOT_IN_A_BROWSER:
                yield name, path
    for library, folder in LIBRARIES.items():
        for file in distribution(library).files or ():
            name = file.as_posix()
            if name.startswith(folder) and name.endswith(".py") and _is_carried(name):
                yield name, Path(str(file.locate()))


def _is_carried(name: str) -> bool:
    if any(part in name for part in LEFT_OUT):
        return False
    folder, _, module = name.rpartition("/")
    return folder != "pygments/lexers" or module.removesuffix(".py") in LEXERS


if __name__ == "__main__":
    sys.exit(main())
