#!/usr/bin/env bash
# pyreqwest 0.15.1, a client on Rust's reqwest: one would expect `async with request.build_streamed() as response` to begin
# when the response's head is there, and `read_chunk` to return what came. It begins only when 64 KiB of the body have come, or all
# of it. `streamed_read_buffer_limit` is described as the most that is buffered; it is how much is awaited.
#
# A stream of server-sent events, such as a reply of a language model, arrives in one piece at its end.
# `streamed_read_buffer_limit(0)` makes it arrive as it is sent.
#
# Needs: bash and python3 (3.11 or newer) with venv.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyreqwest==0.15.1

cat >client.py <<'PY'
import asyncio
from importlib.metadata import version

from pyreqwest.client import ClientBuilder

EVENT = b"data: token\n\n"
WAIT = 5.0


async def first_piece(size: int, limit: int | None) -> str:
    """Return what the client has in five seconds of a response that goes on after `size` bytes."""
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(-(-size // len(EVENT))):
            writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        await over.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async def read() -> str:
        async with ClientBuilder().build() as client:
            request = client.get(url)
            if limit is not None:
                request = request.streamed_read_buffer_limit(limit)
            async with request.build_streamed() as response:
                await response.body_reader.read_chunk()
                return "the first event"

    try:
        return await asyncio.wait_for(read(), WAIT)
    except TimeoutError:
        return "nothing"
    finally:
        over.set()
        server.close()


async def main() -> None:
    print(f"pyreqwest {version('pyreqwest')}, after {WAIT:g} s of a response that goes on:")
    got = {}
    for size, limit in ((3 * len(EVENT), None), (60_000, None), (66_000, None), (3 * len(EVENT), 0)):
        got[size, limit] = await first_piece(size, limit)
        how = "as built" if limit is None else f"with streamed_read_buffer_limit({limit})"
        print(f"  of {size} bytes, {how}: {got[size, limit]}")
    expected = ["nothing", "nothing", "the first event", "the first event"]
    assert list(got.values()) == expected, got
    print("as expected: 64 KiB are awaited")


asyncio.run(main())
PY
venv/bin/python client.py
