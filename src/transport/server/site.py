"""Serves a built page: compressed files under a name that changes with their content.

A page is an HTML file that is checked again at each visit; what it refers to lies below `FILES` and
is kept by the browser for good. The policy allows the page's own scripts and WebAssembly, its own
styles, and connections to this service alone (CSP level 3, section 6; Trusted Types, section 4).
"""

import asyncio
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

FILES: Final = "/page/"
"""The start of the paths of all files but the pages themselves."""

_SUFFIX: Final = ".gz"

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".py": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".zip": "application/zip",
}

_COMMON: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def policy(host: str) -> str:
    """Return the Content-Security-Policy of a page at this host. Safari needs the WebSocket's."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "img-src 'self' blob:",
            f"connect-src 'self' ws://{host} wss://{host}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


@dataclass(frozen=True, slots=True)
class Site:
    """The files of a built page, by the path that they are served at.

    Only what was there when the service started is served.
    """

    files: dict[str, Path]

    @classmethod
    def at(cls, folder: Path) -> "Site | None":
        """Return the page that was built into `folder`, or None if there is none.

        `index.html.gz` is served at `/`, any other page `NAME.html.gz` at `/NAME`.
        """
        if not (folder / f"index.html{_SUFFIX}").is_file():
            return None
        files = {"/": folder / "index.html"}
        for path in sorted(folder.rglob(f"*{_SUFFIX}")):
            name = path.relative_to(folder).as_posix().removesuffix(_SUFFIX)
            if "/" in name:
                files[f"{FILES}{name}"] = path.with_suffix("")
            elif name.endswith(".html") and name != "index.html":
                files[f"/{name.removesuffix('.html')}"] = path.with_suffix("")
        return cls(files)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Return the response to a request whose address and path have been checked."""
        path = self.files[request.path]
        headers = {hdrs.CONTENT_TYPE: _TYPES[path.suffix], **_COMMON}
        if path.suffix == ".html":
            headers["Content-Security-Policy"] = policy(request.headers[hdrs.HOST])
            headers[hdrs.CACHE_CONTROL] = "no-store"
        else:
            headers[hdrs.CACHE_CONTROL] = "public, max-age=31536000, immutable"
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower():
            return web.FileResponse(path, headers=headers)
        content = await asyncio.to_thread(_uncompressed, path)
        return web.Response(body=content, headers=headers)


def _uncompressed(path: Path) -> bytes:
    with gzip.open(path.with_name(path.name + _SUFFIX)) as file:
        return file.read()
