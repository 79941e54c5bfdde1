"""What the board says about the service as a whole."""

import os
import time
from dataclasses import dataclass

import psutil

from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Budget
from callboard.board.v1.board_pb2 import BoardTotals
from callboard_service.board.survey import Survey
from callboard_service.board.texts import DETAILS, bounded
from callboard_service.status import Subject


@dataclass(frozen=True, slots=True)
class Whole:
    """The service, what its sessions may hold, and when it began by the system's clock."""

    subject: Subject
    limits: SessionLimits
    budget: Budget
    began: float

    def up_seconds(self) -> float:
        """Return the seconds since the service began."""
        return self.subject.system.clock.now() - self.began

    def given_up(self) -> list[tuple[str, str]]:
        """Return the names and types of the background actors that were given up."""
        return [
            (background.name, "" if background.kind is None else background.kind.__name__)
            for background in self.subject.registry.background_actors
            if background.ref is not None and not background.ref.alive
        ]

    def totals(self, survey: Survey) -> BoardTotals:
        """Return the totals. survey: a walk over the whole tree."""
        subject, limits = self.subject, self.limits
        metrics, health = subject.metrics, subject.health.now()
        statistics = subject.system.statistics()
        sessions = [details for details, _ in survey.sessions]
        return BoardTotals(
            version=subject.version,
            backend=subject.backend.name,
            ready=health.ready,
            detail=bounded(health.detail, DETAILS),
            actors=survey.actors,
            tasks=statistics.tasks,
            connections=subject.connections(),
            sessions=len(sessions),
            sessions_away=metrics.session_books.away,
            requests=sum(details.requests for details in sessions),
            requests_ended=metrics.requests.ended,
            messages=statistics.run_queue.handled,
            input_tokens=metrics.requests.tokens["input"],
            output_tokens=metrics.requests.tokens["output"],
            crashes=metrics.books.crashes,
            restarts=metrics.books.restarts,
            given_up=metrics.books.given_up,
            dead_letters=statistics.dead_letters,
            cpu_seconds=time.process_time(),
            memory_bytes=psutil.Process(os.getpid()).memory_info().rss,
            held_bytes=self.budget.held,
            held_bytes_limit=self.budget.limit,
            send_queue_bytes_limit=limits.outbox_bytes,
            replay_messages_limit=limits.resume_buffer_messages,
            replay_bytes_limit=limits.resume_buffer_bytes,
        )
