"""Print what the service finds: `python -m examples.search.find TEXT`; Ctrl-C ends it."""

import asyncio
import sys

from examples.search.search_pb2 import Match, Searched, SearchRequest
from transport.client import Client, by_runtime_file
from transport.errors import TransportError


async def main(text: str) -> None:
    """Print the matching lines as they are found, then their number."""
    async with (
        Client(by_runtime_file()) as client,
        client.stream(SearchRequest(text=text), Match, Searched) as answers,
    ):
        async for answer in answers:
            match answer:
                case Match(file=file, line=line, text=found):
                    print(f"{file}:{line}: {found}")
                case Searched(matches=count):
                    print(f"{count} found")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.search.find TEXT")
    try:
        asyncio.run(main(sys.argv[1]))
    except TransportError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
