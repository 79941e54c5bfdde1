"""What the measured programs share: the event loop, and the line with their address."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import NoReturn


def run(main: Coroutine[None, None, None]) -> None:
    """Run `main` to its end, on the loop named by the first argument."""
    if sys.argv[1:2] == ["uvloop"]:
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)


async def serve(port: int, scheme: str = "ws") -> NoReturn:
    """Print that the server is ready, and wait for the signal that ends it."""
    address = f"127.0.0.1:{port}"
    where = address if scheme == "grpc" else f"{scheme}://{address}/ws"
    sys.stdout.write(json.dumps({"event": "ready", "url": where}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()
    raise AssertionError
