"""Finds extensions by entry point or by name, and registers their actor types.

An extension is a function `register(registry: Registry) -> None` in a module. The service calls
those of all installed packages with an entry point in the group `callboard.actors`, then those of
the modules that `--actors` names, all before it starts anything.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, cast

from actors import ActorError, Registry
from callboard_service.errors import BadExtension

GROUP: Final = "callboard.actors"
FUNCTION: Final = "register"


@dataclass(frozen=True, slots=True)
class Extension:
    """The location of a register function.

    origin: the flag, or the entry point and its package; for error messages.
    """

    origin: str
    module: str
    function: str

    def load(self) -> Callable[[Registry], object]:
        """Import and return the register function. Raises BadExtension."""
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{self.module}.".startswith(f"{error.name}."):
                raise BadExtension(f"{self.origin}: there is no module {error.name}") from error
            raise self._not_imported(error) from error
        except (Exception, SystemExit) as error:
            raise self._not_imported(error) from error
        found: object = module
        for part in self.function.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            wanted = f"no function {self.function}(registry: Registry) -> None"
            raise BadExtension(f"{self.origin}: the module {self.module} has {wanted}")
        return cast("Callable[[Registry], object]", found)

    def _not_imported(self, error: BaseException) -> BadExtension:
        return BadExtension(
            f"{self.origin}: the module {self.module} cannot be imported: {_tell(error)}"
        )

    def register(self, registry: Registry) -> None:
        """Call the register function with the registry. Raises BadExtension."""
        function = self.load()
        try:
            result = function(registry)
        except ActorError as error:
            raise BadExtension(f"{self.origin}: {error}") from error
        except (Exception, SystemExit) as error:
            raise BadExtension(f"{self.origin}: {self.function} raised {_tell(error)}") from error
        if inspect.iscoroutine(result):
            result.close()
            raise BadExtension(
                f"{self.origin}: {self.function} must be a plain function, not async"
            )


def _tell(error: BaseException) -> str:
    """Return an error on one line, with the place that raised it."""
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {error}{place}"


def installed() -> Iterable[Extension]:
    """Yield the extensions of installed packages, in the order of their entry points' names."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        yield Extension(
            f"entry point {point.name}{_package(point)}", point.module, point.attr or FUNCTION
        )


def _package(point: EntryPoint) -> str:
    return "" if point.dist is None else f" of {point.dist.name} {point.dist.version}"


def named(modules: Iterable[str]) -> Iterable[Extension]:
    """Yield the extensions that `--actors` names: `package.module` or `package.module:function`.

    Raises BadExtension for a name that is not a module's.
    """
    for name in modules:
        module, _, function = name.partition(":")
        if not all(part.isidentifier() for part in module.split(".")):
            raise BadExtension(f"--actors {name}: not a module name (package.module)")
        yield Extension(f"--actors {name}", module, function or FUNCTION)


def _import_from_here() -> None:
    with suppress(OSError):  # the working folder was deleted
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)  # at the end, so that it hides nothing that is installed


def register_all(
    registry: Registry, modules: Sequence[str], *, search_working_folder: bool = True
) -> None:
    """Call every extension's register function once. Raises BadExtension.

    search_working_folder: look in the working folder for modules that are not found elsewhere.
    """
    asked = [*installed(), *named(modules)]
    if search_working_folder and any(map(_is_missing, named(modules))):
        _import_from_here()
    known: set[tuple[str, str]] = set()
    for extension in asked:
        target = (extension.module, extension.function)
        if target not in known:
            known.add(target)
            extension.register(registry)
    try:
        registry.check()
    except ActorError as error:
        raise BadExtension(str(error)) from error


def _is_missing(extension: Extension) -> bool:
    """Return whether no module of that name is on the path, without importing anything."""
    top, *rest = extension.module.split(".")
    if top in sys.modules:
        return False
    spec = PathFinder.find_spec(top)
    # Only a namespace package may have further parts in the working folder.
    while rest and spec is not None and spec.origin is None:
        folders = [*(spec.submodule_search_locations or ())]
        # By its last name alone: the full name would require its parents to be imported.
        spec = PathFinder.find_spec(rest.pop(0), folders)
    return spec is None
