"""Keep notes, and list them: `python -m examples.notes.note add TEXT`, `... list [CONTAINING]`."""

import asyncio
import sys

from examples.notes.notes_pb2 import AddNote, ListNotes, Note
from transport.client import Client, by_runtime_file
from transport.errors import TransportError


async def add(text: str) -> None:
    """Keep a note and print its number."""
    async with Client(by_runtime_file()) as client:
        note = await client.call(AddNote(text=text), Note)
        print(f"kept as number {note.number}")


async def list_all(containing: str = "") -> None:
    """Print all notes, or those that contain a text, as they arrive."""
    async with Client(by_runtime_file()) as client:
        async for note in client.stream(ListNotes(containing=containing), Note):
            print(f"{note.number:4}  {note.text}")


async def main(arguments: list[str]) -> None:
    """Carry out the command line."""
    match arguments:
        case ["add", text]:
            await add(text)
        case ["list"]:
            await list_all()
        case ["list", containing]:
            await list_all(containing)
        case _:
            sys.exit("usage: python -m examples.notes.note add TEXT | list [CONTAINING]")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except TransportError as error:
        sys.exit(str(error))
