"""The styles of what a chat prints."""

from typing import Final

from rich.style import Style

PLAIN: Final = Style.null()
DIM: Final = Style(dim=True)
TOOL: Final = Style(color="cyan")
ASK: Final = Style(color="yellow", bold=True)
ERROR: Final = Style(color="red")
ADDED: Final = Style(color="green")
REMOVED: Final = Style(color="red")
