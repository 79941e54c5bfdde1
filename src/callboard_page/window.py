"""What the page needs of the window that it is shown in."""

from typing import Protocol


class Window(Protocol):
    """The window: its clipboard, its address, its files."""

    def copy(self, text: str) -> None:
        """Put a text on the clipboard."""

    def focus(self, element_id: str) -> None:
        """Move the keyboard's focus, once the next drawing is done."""

    def show_address(self, conversation_id: str) -> None:
        """Put the open conversation into the address, so that a reload opens it again."""

    def save(self, name: str, media_type: str, content: bytes) -> None:
        """Offer a file to a person, who keeps it or not."""

    def picture(self, media_type: str, content: bytes) -> str:
        """Return a URL under which the page can show a picture."""
