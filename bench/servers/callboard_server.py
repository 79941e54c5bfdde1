"""Callboard with all that a user has on: token, limits, heartbeat, replay, supervision, logs."""

from bench.servers.ping import register
from bench.servers.process import run, serve
from callboard_service.log import make_log
from callboard_service.loop import calm_collector
from callboard_service.service import Service
from callboard_service.settings import load


async def main() -> None:
    """Start the service with the benchmark's request beside its own."""
    service = Service(load({"backend": "echo"}), make_log("info"))
    register(service.registry)
    ready = await service.start()
    calm_collector()
    await serve(int(ready.url.rsplit(":", 1)[1].split("/")[0]))


if __name__ == "__main__":
    run(main())
