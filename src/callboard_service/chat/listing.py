"""The conversations as clients see them: with their features, in lists that are read page by page.

Every actor type of the chat gets the description of a conversation from here.
"""

from hashlib import sha256
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import SessionInfo, SessionList
from callboard_service.backends.base import PAGE_BYTES, ChatBackend
from callboard_service.pages import bad_page

FOLLOW: Final = "follow"
"""The feature whose clients understand turns; see Welcome.features."""

MAX_SEARCH: Final = 1000
"""Characters of a search."""


class Listing:
    """The conversations of a backend. Each method raises Failure as the backend's own does."""

    def __init__(self, backend: ChatBackend) -> None:
        self._backend = backend
        self.features: tuple[str, ...] = (FOLLOW, *sorted(backend.features))
        """What the conversations have: names of Welcome.features."""

    def require(self, feature: str) -> None:
        """Raise Failure, UNIMPLEMENTED, if the conversations do not have this feature."""
        if feature not in self.features:
            message = f"this backend does not support {feature}"
            raise Failure(Code.UNIMPLEMENTED, message)

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation."""
        return self._described(await self._backend.get(conversation_id))

    async def create(self, title: str, create_id: str, directory: str) -> SessionInfo:
        """Create a conversation and return it."""
        return self._described(await self._backend.create(title, create_id, directory))

    async def update(
        self, conversation_id: str, title: str | None, archived: bool | None
    ) -> SessionInfo:
        """Change what is not None, and return the conversation."""
        return self._described(await self._backend.update(conversation_id, title, archived))

    async def fork(
        self, conversation_id: str, before: str, title: str, create_id: str
    ) -> SessionInfo:
        """Copy a conversation and return the copy."""
        self.require("fork")
        return self._described(await self._backend.fork(conversation_id, before, title, create_id))

    async def page(
        self,
        limit: int,
        page: str = "",
        at_most_bytes: int = PAGE_BYTES,
        *,
        search: str = "",
        archived: bool = False,
    ) -> SessionList:
        """Return a page of the list, which the caller may change.

        Raises Failure: INVALID_ARGUMENT for a token of a list with another search or `archived`.
        """
        if search:
            self.require("search")
        if len(search) > MAX_SEARCH:
            message = f"the search is longer than {MAX_SEARCH} characters"
            raise Failure(Code.INVALID_ARGUMENT, message)
        if "\0" in search:  # SQLite's index would take it for the end
            raise Failure(Code.INVALID_ARGUMENT, "the search contains a NUL character")
        mark = _mark(search, archived=archived)
        if page and not page.startswith(mark):
            raise bad_page()
        found = await self._backend.conversations(
            limit, page.removeprefix(mark), at_most_bytes, search=search, archived=archived
        )
        next_page = mark + found.next_page if found.next_page else ""
        copy = SessionList(sessions=found.sessions, next_page=next_page)
        for info in copy.sessions:
            self._described(info)
        return copy

    def _described(self, info: SessionInfo) -> SessionInfo:
        info.features[:] = self.features
        return info


def _mark(search: str, *, archived: bool) -> str:
    """Return what the tokens of a list begin with, so that they fit no other list."""
    if not search and not archived:
        return ""
    digest = sha256(search.encode(errors="replace")).hexdigest()[:8] if search else ""
    return f"{'a' if archived else ''}{digest}:"
