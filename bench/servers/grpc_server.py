"""grpc.aio: a unary method for the unary request, and a stream of tokens for the reply."""

import asyncio
import re
from collections.abc import AsyncIterator

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from bench.servers.process import run, serve
from callboard.v1.chat_pb2 import ChatToken, SendMessageRequest


async def ping(request: BytesValue, _context: object) -> BytesValue:
    """Return the same bytes."""
    return BytesValue(value=request.value)


async def talk(request: SendMessageRequest, _context: object) -> AsyncIterator[ChatToken]:
    """Yield as many tokens as the text asks for."""
    repeat = re.search(r"repeat:(\d+)", request.text)
    yields = "delay" in request.text
    for _ in range(int(repeat[1]) if repeat else 0):
        if yields:
            await asyncio.sleep(0)
        yield ChatToken(text="012 ")


async def main() -> None:
    """Listen on a free port."""
    server = grpc.aio.server()
    methods = {
        "Ping": grpc.unary_unary_rpc_method_handler(
            ping, BytesValue.FromString, BytesValue.SerializeToString
        ),
        "Talk": grpc.unary_stream_rpc_method_handler(
            talk, SendMessageRequest.FromString, ChatToken.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bench", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await serve(port, "grpc")


if __name__ == "__main__":
    run(main())
