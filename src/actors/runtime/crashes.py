"""Decide which exceptions are crashes of the code that raised them, and which end the program."""

import asyncio
import functools
import signal


def is_crash(error: BaseException) -> bool:
    """Return whether `error` affects only the actor, request or callback that raised it.

    This holds for every exception except CancelledError and GeneratorExit, which end a task or a
    generator, and the KeyboardInterrupt of a real Ctrl-C. `sys.exit()` in a handler is a crash and
    does not end the program.
    """
    if isinstance(error, Exception):
        return True
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return False
    return not (isinstance(error, KeyboardInterrupt) and interrupts_raise())


def interrupts_raise() -> bool:
    """Return whether Ctrl-C raises KeyboardInterrupt: SIGINT has Python's handler or asyncio's.

    asyncio.Runner cancels its main task on the first Ctrl-C and raises on the second.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, functools.partial):
        handler = handler.func
    runner = getattr(handler, "__self__", None)
    return handler is signal.default_int_handler or isinstance(runner, asyncio.Runner)
