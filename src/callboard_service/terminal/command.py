"""Runs a command on a connection to the service, and maps errors to exit codes."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from callboard_service.errors import BadSettings
from callboard_service.load_settings import load
from callboard_service.terminal.connect import (
    PATIENT,
    SETTINGS,
    Link,
    Way,
    by_runtime_file,
    by_url,
)
from callboard_service.terminal.errors import BadUse, NoService
from callboard_service.terminal.exits import Exit, drop_unwritable_output
from callboard_service.terminal.styles import ERROR
from callboard_service.terminal.text import one_line
from callboard_service.terminal.view import make_console
from transport import discovery
from transport.address import is_address
from transport.client import Client
from transport.errors import ConnectionClosed, RequestFailed


@dataclass(frozen=True, slots=True)
class Where:
    """Which service to talk to: the one at `url`, or the one whose runtime file is found."""

    url: str | None = None
    flags: dict[str, object] = field(default_factory=dict)

    def find(self) -> Way:
        """Return the way to the service. Raises BadUse and BadSettings."""
        settings = load(self.flags)
        if self.url is None:
            return by_runtime_file(settings.runtime_dir or discovery.default_folder())
        if not is_address(self.url):
            raise BadUse(
                f"--url {self.url!r} is not the URL of a service; expected ws://HOST:PORT/ws,"
                " wss://HOST:PORT/ws or ws+unix:/PATH:/ws"
            )
        if settings.token is None:
            raise BadUse("--url requires the token in CALLBOARD_TOKEN")
        return by_url(self.url, settings.token.get_secret_value())


def run(where: Where, work: Callable[[Client], Awaitable[None]], *, patient: bool = False) -> int:
    """Connect, run `work` with the client, and return the exit code.

    0 done, 1 the request failed, the service was lost or the output cannot be written, 2 bad use,
    3 no service was found or it does not accept the client, 130 Ctrl-C, 141 standard output is
    closed. patient: retry a busy service until Ctrl-C, instead of for BUSY_WAIT seconds.
    """
    try:
        asyncio.run(_connected(where, work, patient=patient))
        sys.stdout.flush()
    except (BadSettings, BadUse) as error:
        return _failed(Exit.BAD_USE, error)
    except NoService as error:
        return _failed(Exit.NO_SERVICE, error)
    except (ConnectionClosed, RequestFailed) as error:
        return _failed(Exit.FAILED, error)
    except BrokenPipeError:
        drop_unwritable_output()
        return Exit.PIPE_CLOSED
    except OSError as error:
        drop_unwritable_output()
        return _failed(Exit.FAILED, error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.DONE


async def _connected(
    where: Where, work: Callable[[Client], Awaitable[None]], *, patient: bool
) -> None:
    settings, tell = (PATIENT, _tell) if patient else (SETTINGS, None)
    async with Link(where.find(), settings, tell=tell) as link:
        await work(await link.open())


def _failed(code: int, error: Exception) -> int:
    _tell(str(error))
    return code


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        make_console(sys.stderr).print(
            f"callboard: {one_line(text, 1000)}", style=ERROR, soft_wrap=True, markup=False
        )
