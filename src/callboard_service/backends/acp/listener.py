"""What is told of the changes that an agent makes by itself."""

from collections.abc import Mapping
from typing import Protocol


class Listener(Protocol):
    """Takes the changes in one conversation."""

    def titled(self, title: str) -> None:
        """Take the title that the agent gives to the conversation."""

    def changed(self, changes: Mapping[str, tuple[str, str]]) -> None:
        """Take the values before and after, by option; there may be none, but other choices."""
