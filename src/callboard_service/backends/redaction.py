"""Make the error messages of other servers and agents fit for a person, without secrets.

Such messages quote headers, URLs and settings; a proxy may quote the key of the server behind it.
"""

import re
from typing import Final

_LONGEST: Final = 300
"""Characters of a readable message."""

_INTERNAL: Final = re.compile(r"(?i)failed query|insert into|select .* from|\bat \S+ \(")
_SECRETS: Final = re.compile(
    r"""(?xi)
    \b(?: (?:sk|pk|rk|gsk|xai|hf|nvapi|fw|r8|pplx|csk|tgp|key|ak|api|token)[-_]
          [a-z0-9_-]{8,} (?<![-_])
        | gh[opsu]_ [a-z0-9]{8,}
        | AIza [a-z0-9_-]{20,}
        | eyJ [a-z0-9_-]{10,} \. [a-z0-9_.-]{10,} )
    | (?<= bearer\  ) [^\s"',;]{6,}
    | (?<= basic\  ) [a-z0-9+/=]{12,}
    | (?<= // ) [^/\s@]+ (?= @ )
    """
)
_NAMED: Final = re.compile(
    r"""(?xi)
    ( (?: api[-_\ ]?key | access[-_\ ]?token | auth[-_\ ]?token | secret[-_\ ]?key
        | client[-_\ ]?secret | password | authorization )
      ["']? \s* [:=] \s* ["']? (?: bearer \s+ )? )
    ( [^\s"',;&}]{6,} )
    """
)


def redacted(text: str) -> str:
    """Return the text with `***` in place of anything that looks like a key, token or password."""
    return _SECRETS.sub("***", _NAMED.sub(r"\1***", text))


def readable(message: str, otherwise: str) -> str:
    """Return a message's first line, made readable; `otherwise` if it is empty or internal."""
    line = next((line.strip() for line in message[:4096].splitlines() if line.strip()), "")
    if not line or _INTERNAL.search(line):
        return otherwise
    clean = redacted("".join(c if c.isprintable() else " " for c in line))
    return clean if len(clean) <= _LONGEST else f"{clean[: _LONGEST - 1].rstrip()}…"
