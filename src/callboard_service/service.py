"""Assembles the service: starts its parts in order and stops them in reverse.

root ── store ── backend (its own subtree) ── extensions (turns, and others') ── sessions

There is no store if the backend keeps no conversations itself, and no backend subtree if its
replies need no actor.
"""

import asyncio
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from actors import (
    ActorRef,
    ActorSystem,
    Backoff,
    ChildSpec,
    Intensity,
    Lifecycle,
    Log,
    Registry,
    StartFailed,
)
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Budget
from actors.requests.background import Extensions
from actors.sessions.messages import SessionEnvironment
from actors.sessions.session_supervisor import RESUME_TOKEN_BYTES, Sessions, SessionsMessage
from callboard_service import __version__, extensions, request_log, status
from callboard_service.board import board
from callboard_service.chat import chat
from callboard_service.chat.admission import MAX_WAITING
from callboard_service.chat.listing import Listing
from callboard_service.data_folder import FolderLock, lock_folder
from callboard_service.errors import (
    BackendFailed,
    BadExtension,
    OutageTooLong,
    find_service_error,
)
from callboard_service.health import BACKEND, STORE, Outages, ServiceHealth
from callboard_service.log import EventLog
from callboard_service.make_backend import make_backend
from callboard_service.metrics import Metrics
from callboard_service.open_page import forget_page, sweep_pages
from callboard_service.settings import Settings
from transport import discovery
from transport.server.server import Server, ServerSettings
from transport.server.site import Site
from transport.wire.codec import Wire

NAME: Final = "callboard"
"""Name of the root actor."""

TOKEN_BYTES: Final = 32

PAGE: Final = Path(__file__).parent / "page"
"""The built page, if there is one (`make page`; the wheel has it)."""

LAST_WRITES: Final = 1.0
"""Seconds that the last writes wait for a locked database. Less than KILL_GRACE."""

KILL_GRACE: Final = 2.0
"""Seconds that a cancelled actor has to end before it is left behind.

Must fit into the five seconds that the process has to stop after the drain time.
"""

# A restart is always allowed: no two restarts fall into one window.
_NEVER_GIVEN_UP: Final = Intensity(restarts=1, period=0.0)

STORE_LIFECYCLE: Final = Lifecycle(
    backoff=Backoff(initial=0.1, maximum=30.0), intensity=_NEVER_GIVEN_UP
)
BACKEND_LIFECYCLE: Final = Lifecycle(
    shutdown=15.0,
    backoff=Backoff(initial=0.2, maximum=300.0, settled=60.0),
    intensity=_NEVER_GIVEN_UP,
)


@dataclass(frozen=True, slots=True)
class Ready:
    """The addresses and the process id of a service that has started."""

    url: str
    page: str
    pid: int
    runtime_file: Path


def session_limits(settings: Settings) -> SessionLimits:
    """Return the limits of each session."""
    return SessionLimits(
        max_requests_in_flight=settings.max_requests_in_flight,
        messages_per_second=settings.messages_per_second,
        message_burst=settings.message_burst,
        bytes_per_second=settings.bytes_per_second,
        byte_burst=settings.byte_burst,
        resume_window=settings.resume_window_ms / 1000,
        resume_buffer_messages=settings.resume_buffer_messages,
        resume_buffer_bytes=settings.resume_buffer_bytes,
        slow_consumer=settings.slow_consumer_ms / 1000,
        max_answer_bytes=settings.max_answer_bytes,
        max_session_bytes=settings.max_session_bytes,
    )


def _innermost(error: BaseException) -> str:
    """Return which actor did not start, and why, from the innermost StartFailed."""
    while isinstance(error.__cause__, StartFailed):
        error = error.__cause__
    return str(error)


class Service:
    """One running service. Call `start`, then `stop`, once each."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._backend = make_backend(settings, log)
        self._metrics = Metrics()
        self.system = ActorSystem(name=NAME, kill_grace=KILL_GRACE, blocked_after=1.0)
        self.system.subscribe(EventLog(log), EventLog.kinds)
        self.system.subscribe(self._metrics, Metrics.kinds)
        self._outage: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        outages = Outages(NAME, self.system.clock, settings.max_outage_ms / 1000, self._end_with)
        self.system.subscribe(outages, Outages.kinds)
        self._health = ServiceHealth(self._backend, outages)
        self.registry = Registry()
        self._started_at = datetime.now(UTC)
        given = settings.token
        self.token = given.get_secret_value() if given else secrets.token_urlsafe(TOKEN_BYTES)
        self._budget = Budget(settings.memory_budget)
        self._server: Server | None = None
        self.record: discovery.RuntimeRecord | None = None
        """How to reach the service, once it has started."""
        self._runtime_file: discovery.RuntimeFile | None = None
        self._folder_lock: FolderLock | None = None

    async def start(self) -> Ready:
        """Start the service. If that fails, stop what has started.

        Raises ServiceError or TransportError.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> Ready:
        settings = self._settings
        wire = self._bind()
        folder = self._backend.data_folder
        if folder is not None:
            self._folder_lock = lock_folder(folder, self._log.warning)
        await self._start_part(STORE, self._backend.store_spec(), STORE_LIFECYCLE)
        await self._start_part(BACKEND, self._backend.spec(), BACKEND_LIFECYCLE)
        try:
            await self.system.start(
                lambda: Extensions(self.registry.background_actors), name=status.EXTENSIONS
            )
        except StartFailed as error:
            raise BadExtension(_innermost(error)) from error
        sessions = await self.system.start(lambda: self._sessions(wire), name="sessions")
        server = await self._listen(sessions, wire)
        if self._folder_lock is not None:
            self._folder_lock.name_owner(server.url)
        record = self.record = discovery.RuntimeRecord(
            pid=os.getpid(),
            url=server.url,
            page=server.page,
            token=self.token,
            backend=self._backend.name,
            version=__version__,
            started_at=self._started_at.timestamp(),
        )
        folder = settings.runtime_dir or discovery.default_folder()
        self._runtime_file = discovery.publish(folder, record)
        sweep_pages(folder)
        self._log.info("ready", url=server.url, backend=self._backend.name, pid=record.pid)
        return Ready(server.url, server.page, record.pid, self._runtime_file.path)

    async def _start_part(self, name: str, spec: ChildSpec | None, lifecycle: Lifecycle) -> None:
        """Start the store or the backend, unless `spec` is None. Raises BackendFailed."""
        if spec is None:
            return
        try:
            await self.system.start(spec.factory, name=name, lifecycle=lifecycle)
        except StartFailed as error:
            raise BackendFailed(str(find_service_error(error) or error)) from error

    def _bind(self) -> Wire:
        """Register all actor types before anything starts. Raises BadExtension, NotProtobuf."""
        if self._settings.log_level == "debug":
            request_log.register(self.registry)
        subject = self._subject()
        status.register(self.registry, subject)
        board.register(self.registry, subject, session_limits(self._settings), self._budget)
        chat.register(
            self.registry,
            self._backend,
            self._log,
            self._settings.max_answer_bytes,
            self._health.available,
            self._settings.resume_window_ms / 1000,
            self._settings.attachment_quota,
        )
        extensions.register_all(
            self.registry,
            self._settings.actors,
            search_working_folder=self._settings.search_working_folder,
        )
        return Wire(self.registry)

    def _subject(self) -> status.Subject:
        return status.Subject(
            version=__version__,
            started_at=self._started_at,
            backend=self._backend,
            system=self.system,
            health=self._health,
            registry=self.registry,
            metrics=self._metrics,
            connections=self._connections,
        )

    def _connections(self) -> int:
        return 0 if self._server is None else self._server.connections

    def _sessions(self, wire: Wire) -> Sessions:
        environment = SessionEnvironment(
            self.registry,
            session_limits(self._settings),
            wire.encode,
            self._log,
            self._metrics,
            self._metrics.request_ended,
            wire.answers,
            self._budget,
        )
        return Sessions(
            environment,
            lambda: secrets.token_hex(6),
            lambda: secrets.token_bytes(RESUME_TOKEN_BYTES),
            self._settings.max_sessions,
        )

    async def _listen(self, sessions: ActorRef[SessionsMessage], wire: Wire) -> Server:
        settings = self._settings
        server = Server(
            ServerSettings(
                token=self.token,
                backend=self._backend.name,
                version=__version__,
                place=settings.place(),
                handshake=settings.handshake_timeout_ms / 1000,
                heartbeat=settings.heartbeat_interval_ms / 1000,
                drain=settings.drain_ms / 1000,
                max_message_bytes=settings.max_message_bytes,
                max_handshakes=settings.max_handshakes,
                max_sessions=settings.max_sessions,
                max_queued_turns=MAX_WAITING,
                features=Listing(self._backend).features,
                site=Site.at(PAGE),
                limits=session_limits(settings),
            ),
            sessions,
            wire,
            self.system.clock,
            self._log,
            self._metrics,
            self._health.unavailable,
        )
        await server.start()
        self._server = server
        self._metrics.watch(self.system.snapshot, self._connections)
        return server

    async def failed(self) -> BaseException:
        """Wait until the service cannot continue, and return the reason."""
        root = asyncio.ensure_future(self.system.failed())
        try:
            await asyncio.wait({root, self._outage}, return_when=asyncio.FIRST_COMPLETED)
            return root.result() if root.done() else self._outage.result()
        finally:
            root.cancel()

    def _end_with(self, error: OutageTooLong) -> None:
        if not self._outage.done():
            self._outage.set_result(error)

    async def stop(self) -> None:
        """Drain, close the server, stop all actors in reverse order, remove the runtime file."""
        if self._server is not None:
            await self._server.shutdown()
        self._backend.hurry(LAST_WRITES)
        await self.system.stop()
        self._withdraw()
        if self._folder_lock is not None:
            self._folder_lock.release()

    def forsake(self) -> None:
        """Remove the runtime file; for a process that is about to end without `stop`."""
        self._withdraw()

    def _withdraw(self) -> None:
        if self._runtime_file is not None:
            discovery.withdraw(self._runtime_file)
            forget_page(self._runtime_file.path.parent, os.getpid())
