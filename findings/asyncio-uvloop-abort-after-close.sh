#!/usr/bin/env bash
# asyncio's documentation says of `Transport.abort()` only that it closes the transport at once, and one would guess that
# it does nothing for a connection that has ended, as it does after an ordinary close. In truth asyncio's own TCP transport
# raises AttributeError if data was still buffered when `close()` was called and the peer has read it since. uvloop's does
# nothing then. A timer that cuts off slow peers fails on one loop and not on the other.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check uvloop==0.23.0

cat >"$folder/abort.py" <<'PYTHON'
import asyncio

import uvloop


async def abort_after_end(size: int) -> str:
    """Close a connection with so many bytes to send; abort it once the peer has read them all."""
    loop = asyncio.get_running_loop()
    made, lost = loop.create_future(), loop.create_future()

    class Sender(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    server = await loop.create_server(Sender, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    transport = await made
    transport.write(bytes(size))
    transport.close()
    while await reader.read(1 << 20):
        pass
    assert await lost is None
    try:
        transport.abort()
    except AttributeError as error:
        return f"AttributeError: {error}"
    finally:
        writer.close()
        server.close()
    return "nothing"


for name, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
    for size in (10, 50_000_000):
        print(f"{name}, {size} bytes: {run(abort_after_end(size))}")
PYTHON

"$folder/venv/bin/python" --version
"$folder/venv/bin/python" -m pip list --disable-pip-version-check 2>/dev/null | grep -i '^uvloop '
"$folder/venv/bin/python" "$folder/abort.py" | tee "$folder/output.txt"

diff "$folder/output.txt" - <<'EXPECTED'
asyncio, 10 bytes: nothing
asyncio, 50000000 bytes: AttributeError: 'NoneType' object has no attribute 'call_soon'
uvloop, 10 bytes: nothing
uvloop, 50000000 bytes: nothing
EXPECTED
echo 'As observed.'
