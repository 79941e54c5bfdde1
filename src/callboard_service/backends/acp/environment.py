"""Build an agent's environment from a list of what it may have."""

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from callboard_service.launch import own_environment

ALLOWED: Final = (
    # Where programs, files and the user are.
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TMP", "TEMP", "TZ",
    "XDG_CACHE_HOME", "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "XDG_DATA_DIRS", "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
    # The language of texts, and what a terminal can show.
    "LANG", "LANGUAGE", "LC_*", "TERM", "COLORTERM", "NO_COLOR",
    # The way to model servers through a company's network.
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    # What programs on Windows need in order to start.
    "ALLUSERSPROFILE", "APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA",
    "NUMBER_OF_PROCESSORS", "OS", "PATHEXT", "PROCESSOR_ARCHITECTURE", "PROGRAMDATA",
    "PROGRAMFILES", "PROGRAMFILES(X86)", "SYSTEMDRIVE", "SYSTEMROOT", "USERDOMAIN", "USERNAME",
    "USERPROFILE", "WINDIR",
)  # fmt: skip
"""The variables that every agent gets. None of them is a key; a proxy's URL may hold a password."""


def agent_environment(
    needed: Iterable[str] = (),
    given: Mapping[str, str] | None = None,
    source: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment for an agent: the variables of `source` that it may have, and `given`.

    needed: names beyond ALLOWED, such as that of its key; `*` at the end stands for any ending.
    given: variables to set, whatever `source` says.
    source: the environment to choose from; None means that of this process.

    No variable with the prefix of the service's settings is included, even if it is asked for: the
    agent would get the service's token.
    """
    variables = os.environ if source is None else source
    names = (*ALLOWED, *needed)
    chosen = {
        name: value
        for name, value in variables.items()
        if any(fnmatchcase(name, allowed) for allowed in names)
    }
    return own_environment(chosen | dict(given or {}))
