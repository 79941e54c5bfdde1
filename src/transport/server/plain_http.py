"""Answers HTTP requests that open no WebSocket: the page, health and metrics."""

from html import escape
from typing import Final

from aiohttp import web

from transport.server.access import Refusal

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

PAGE_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Callboard</title>
<h1>Callboard {version}</h1>
<p>A message router for user interfaces. It answers with the backend <b>{backend}</b>.</p>
<p>A program connects to <code>{url}</code> and speaks binary <code>callboard.v1</code> protobuf
messages. The token for its first message is in the service's runtime file; in a terminal,
<code>callboard chat</code> finds it automatically.</p>
<p>The page with the chat is not here, because it has not been built: that needs npm, and
<code>make page</code> in the project's folder. The published package has it built.</p></html>
"""


def page(version: str, backend: str, url: str) -> web.Response:
    """Return the page, which runs no scripts and cannot be framed."""
    text = PAGE.format(version=escape(version), backend=escape(backend), url=escape(url))
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", headers=headers)


def health(*, draining: bool, down: str | None) -> web.Response:
    """Return whether chat requests can be served; `down` names the part that prevents it.

    The reason is left out, since this requires no token.
    """
    if draining:
        return web.json_response({"status": "draining"}, status=503)
    if down:
        return web.json_response({"status": "degraded", down: "unavailable"}, status=503)
    return web.json_response({"status": "ok"})


def unauthorized() -> web.Response:
    """Return the response to a request without the token."""
    headers = {"WWW-Authenticate": "Bearer"}
    return web.Response(status=401, text="the token is required\n", headers=headers)


def metrics(counts: bytes) -> web.Response:
    """Return all counts, for Prometheus."""
    headers = {"Content-Type": METRICS_TYPE, "Cache-Control": "no-store"}
    return web.Response(body=counts, headers=headers)


def refuse(refusal: Refusal) -> web.Response:
    """Return an HTTP response in place of the upgrade or the page."""
    return web.Response(status=refusal.status, text=f"{refusal.reason}\n")
