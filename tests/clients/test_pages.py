"""What a page sees in Chromium, as docs/protocol.md describes it."""

import socket
from pathlib import Path

from tests.clients.browser import Browser
from tests.e2e.service_process import running
from tests.security.raw import hello


async def test_a_page_that_closes_without_a_code_ends_its_session(
    browser: Browser, tmp_path: Path
) -> None:
    with running(tmp_path, "--backend", "echo", "--allowed-origins", browser.origin) as service:
        code = browser.run(
            """
            return new Promise(resolve => {
              const socket = new WebSocket(given.url);
              socket.onopen = () => socket.send(new Uint8Array(given.hello));
              socket.onmessage = () => socket.close();
              socket.onclose = event => resolve(event.code);
            });
            """,
            url=service.url,
            hello=list(hello(service.token)),
        )
        assert code == 1005
        await service.until('callboard_connections_closed_total{code="1005"}', 1)
        await service.until('callboard_actors{type="SessionActor"}', 0)
        assert await service.metric("callboard_sessions_away") == 0


async def test_the_session_of_a_page_that_is_loaded_again_waits_for_it(
    browser: Browser, tmp_path: Path
) -> None:
    with running(tmp_path, "--backend", "echo", "--allowed-origins", browser.origin) as service:
        again = browser.run(
            """
            if (sessionStorage.seen) return true;
            sessionStorage.seen = "yes";
            return new Promise(() => {
              const socket = new WebSocket(given.url);
              socket.onopen = () => socket.send(new Uint8Array(given.hello));
              socket.onmessage = () => location.reload();
            });
            """,
            url=service.url,
            hello=list(hello(service.token)),
        )
        assert again
        await service.until('callboard_connections_closed_total{code="1001"}', 1)
        await service.until("callboard_sessions_away", 1)


def test_a_page_that_is_refused_sees_1006_whatever_the_reason(
    browser: Browser, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = unused.getsockname()[1]
        foreign, own = tmp_path / "foreign", tmp_path / "own"
        allowed = ("--backend", "echo", "--allowed-origins", browser.origin)
        with running(foreign, "--backend", "echo") as stranger, running(own, *allowed) as service:
            base = f"ws://127.0.0.1:{service.port}"
            seen = browser.run(
                """
                const attempt = url => new Promise(resolve => {
                  const socket = new WebSocket(url);
                  let opened = false;
                  socket.onopen = () => { opened = true; socket.close(); };
                  socket.onclose = event => resolve([opened, event.code, event.reason]);
                });
                const seen = {};
                for (const name in given.urls) seen[name] = await attempt(given.urls[name]);
                return seen;
                """,
                urls={
                    "good": f"{base}/ws",
                    "400": f"{base}/ws?token=x",
                    "403": stranger.url,
                    "404": f"{base}/elsewhere",
                    "421": f"ws://other.localhost:{service.port}/ws",
                    "nobody": f"ws://127.0.0.1:{nobody}/ws",
                },
            )
    assert seen.pop("good") == [True, 1005, ""]
    assert set(seen) == {"400", "403", "404", "421", "nobody"}
    assert set(map(tuple, seen.values())) == {(False, 1006, "")}


def test_a_page_learns_by_a_request_whether_anything_answers(
    browser: Browser, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = unused.getsockname()[1]
        with running(tmp_path, "--backend", "echo") as service:
            seen = browser.run(
                """
                const ask = url =>
                  fetch(url, {mode: "no-cors"}).then(() => "there", () => "nobody");
                return [await ask(given.there), await ask(given.nobody)];
                """,
                there=f"http://127.0.0.1:{service.port}/healthz",
                nobody=f"http://127.0.0.1:{nobody}/healthz",
            )
    assert seen == ["there", "nobody"]
