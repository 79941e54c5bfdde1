"""The browser's window: address, clipboard, files, focus, and what a tab remembers."""

from typing import Final

from js import URL, Blob, Object, URLSearchParams, document, navigator, window
from pyodide.ffi import to_js

_KEPT: Final = "callboard"
"""The key in sessionStorage, which a tab keeps over a reload and no other tab sees."""


class BrowserWindow:
    """The window. A focus is moved after the next drawing."""

    def __init__(self) -> None:
        self._focus = ""

    def copy(self, text: str) -> None:
        """Put a text on the clipboard."""
        navigator.clipboard.writeText(text)

    def focus(self, element_id: str) -> None:
        """Move the focus once the next drawing is done."""
        self._focus = element_id

    def drawn(self) -> None:
        """Move the focus, if that was asked for."""
        if self._focus:
            element = document.getElementById(self._focus)
            self._focus = ""
            if element:
                element.focus()

    def show_address(self, conversation_id: str) -> None:
        """Put the open conversation into the address, without a new entry of the history."""
        _show_fragment(conversation_id)

    def save(self, name: str, media_type: str, content: bytes) -> None:
        """Offer a file to a person. It is never opened in the page's own origin."""
        url = self._url("application/octet-stream", content)
        link = document.createElement("a")
        link.href = url
        link.download = name or media_type
        link.click()
        window.setTimeout(URL.revokeObjectURL, 60_000, url)

    def picture(self, media_type: str, content: bytes) -> str:
        """Return a URL under which the page can show a picture."""
        return self._url(media_type, content)

    def _url(self, media_type: str, content: bytes) -> str:
        parts = to_js([to_js(content)])
        options = Object.fromEntries(to_js([["type", media_type]]))
        url: str = URL.createObjectURL(Blob.new(parts, options))
        return url


def address() -> tuple[str, str]:
    """Return the token and the conversation in the address; remove the token from it at once.

    The token is kept for reloads of this tab. Both are empty if there are none.
    """
    given = URLSearchParams.new(window.location.hash.removeprefix("#"))
    conversation_id = given.get("c") or ""
    token = given.get("token") or ""
    if token:
        _show_fragment(conversation_id)
        window.sessionStorage.setItem(_KEPT, token)
    return token or window.sessionStorage.getItem(_KEPT) or "", conversation_id


def _show_fragment(conversation_id: str) -> None:
    """Replace the address in place, so that what was there is not in the history either."""
    fragment = ""
    if conversation_id:
        given = URLSearchParams.new()
        given.set("c", conversation_id)
        fragment = f"#{given.toString()}"
    window.history.replaceState(None, "", f"{window.location.pathname}{fragment}")


def forget_token() -> None:
    """Keep the token no longer: the service does not accept it."""
    window.sessionStorage.removeItem(_KEPT)


def service() -> str:
    """Return the URL of the service's WebSocket."""
    scheme = "wss" if window.location.protocol == "https:" else "ws"
    return f"{scheme}://{window.location.host}/ws"


def page() -> str:
    """Return the path of the page that is shown."""
    path: str = window.location.pathname
    return path
