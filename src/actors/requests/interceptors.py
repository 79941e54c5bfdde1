"""Interceptors: what is done round every request, or round every request of one type.

After gRPC's server interceptors, as a context manager round the handler, so that the parts before
and after, and whatever goes wrong between them, read as Python reads:

    @asynccontextmanager
    async def audited(call: Call[Message]) -> AsyncIterator[None]:
        try:
            yield                       # the handler runs
        finally:
            call.context.log.info("audit", ending=call.ending_code, answers=call.answers)

- Raise Failure before the `yield` to refuse: the handler never runs.
- The handler's Failure, its crash, or its cancellation is raised at the `yield`. Swallowed there,
  it still is what the request ends with: an interceptor can refuse, and cannot answer, so that a
  reply always has the type that the handler declares.
- Raise Failure after the `yield` to end with that in place of the handler's end.
- It runs in the request's actor: a crash of its own costs that request, a restarted handler is
  intercepted anew. What is refused before there is an actor (unknown, too many) it does not see.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from actors.protocol.failure import Failure
from actors.protocol.frames import Completed, Message

if TYPE_CHECKING:
    from actors.requests.request import AnyHandler, RequestContext

Req_co = TypeVar("Req_co", bound=Message, covariant=True)

Ending: TypeAlias = Message | Completed
"""What a handler ends a request with: its last answer, or the empty end of a stream."""


class Call(Generic[Req_co]):
    """One request, as its interceptors see it."""

    __slots__ = ("_ending", "_listeners", "answers", "context", "request")

    def __init__(self, request: Req_co, context: "RequestContext") -> None:
        self.request: Req_co = request
        self.context: RequestContext = context
        self.answers: int = 0
        """How many answers the handler has sent, the last one not counted."""
        self._ending: Ending | Failure | None = None
        self._listeners: list[Callable[[Message], None]] = []

    @property
    def ending(self) -> Ending | Failure | None:
        """What the request ended with.

        None while it runs, and where the handler crashed. After a cancel or a deadline it is the
        Failure that the client was told.
        """
        return self._ending if self._ending is not None else self.context.said

    @property
    def ending_code(self) -> str:
        """`ending` as gRPC's status name: OK, INTERNAL for a crash, else that of the Failure."""
        ending = self.ending
        if ending is None:
            return "INTERNAL"
        return ending.code.value if isinstance(ending, Failure) else "OK"

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Have `listener` called with each answer of a stream before it is sent, at once."""
        self._listeners.append(listener)

    def answered(self, answer: Message) -> None:
        """Count an answer, and tell the listeners."""
        self.answers += 1
        for listener in self._listeners:
            listener(answer)

    def end(self, ending: Ending | Failure | None) -> None:
        """Take what the handler ended with."""
        self._ending = ending

    def noticed(
        self, _kind: type[BaseException] | None, raised: BaseException | None, _: object
    ) -> None:
        """Take what an interceptor raises, for those outside of it."""
        if raised is not None:
            self.end(raised if isinstance(raised, Failure) else None)


Interceptor: TypeAlias = Callable[[Call[Req_co]], AbstractAsyncContextManager[None, bool | None]]
"""What is put round a request. One of `Call[Message]` fits every request."""


async def run_intercepted(
    handler: "AnyHandler", call: Call[Message], interceptors: Sequence[Interceptor[Message]]
) -> Ending:
    """Run the handler inside its interceptors, the first outermost."""
    ending: Ending | None = None
    raised: BaseException | None = None
    async with AsyncExitStack() as stack:
        for intercept in interceptors:
            stack.push(call.noticed)
            await stack.enter_async_context(intercept(call))
        try:
            ending = await handler.run()
            call.end(ending)
        except BaseException as error:
            raised = error
            call.end(error if isinstance(error, Failure) else None)
            raise
    if raised is not None:
        raise raised  # an interceptor has swallowed it
    assert ending is not None
    return ending
