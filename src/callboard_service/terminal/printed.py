"""What of a text was printed, compared with the text when it comes again. No I/O."""

import io


class PrintedText:
    """A text that is printed as it comes, and not twice.

    It comes again from its beginning after a session was lost.
    """

    def __init__(self) -> None:
        self._printed = io.StringIO()
        self._known = ""
        self._at = 0

    def begin_again(self) -> None:
        """Note that the text now comes again from its beginning."""
        self._known, self._at = self._printed.getvalue(), 0

    @property
    def missing(self) -> int:
        """How many of the characters that were printed have not come again."""
        return len(self._known) - self._at

    def add(self, text: str) -> tuple[str, bool]:
        """Take a part of the text; return what is to be printed, and whether that is all anew.

        It is all anew if the text differs from what was printed.
        """
        known = self._known[self._at : self._at + len(text)] if self.missing else ""
        if text.startswith(known):
            self._at += len(known)
            text = text[len(known) :]
            self._printed.write(text)
            return text, False
        anew = self._known[: self._at] + text
        self._replace(anew)
        return anew, True

    def cut(self, keep_bytes: int) -> None:
        """Drop all but the first bytes of the text, counted in UTF-8: they are void."""
        if self.missing:
            kept = self._known[: self._at].encode()[:keep_bytes].decode(errors="ignore")
            self._at = len(kept)
        else:
            self._replace(self._printed.getvalue().encode()[:keep_bytes].decode(errors="ignore"))

    def _replace(self, text: str) -> None:
        self._printed = io.StringIO()
        self._printed.write(text)
        self._known, self._at = "", 0
