"""Interceptors: code that runs around every request, or around every request of one type.

Like gRPC's server interceptors, but written as a context manager around the handler, so that the
code before it, the code after it and the error handling are ordinary Python:

    @asynccontextmanager
    async def audited(call: Call[Message]) -> AsyncIterator[None]:
        try:
            yield                       # the handler runs
        finally:
            call.context.log.info("audit", ending=call.ending_code, answers=call.answers)

- Raise Failure before the `yield` to refuse the request: the handler does not run.
- The handler's Failure, crash or cancellation is raised at the `yield`. If the interceptor swallows
  it, the request still ends with it: an interceptor can refuse but not answer, so that an answer
  always has the type that the handler declares.
- Raise Failure after the `yield` to replace the handler's end.
- An interceptor runs in the request's task: its crash affects only that request, and it runs
  again with a restarted handler. It does not see requests that are refused before the handler runs
  (an unknown type, too many at once).
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
"""How a handler ends a request: with its final answer, or with the empty end of a stream."""


class Call(Generic[Req_co]):
    """One request, as its interceptors see it."""

    __slots__ = ("_ending", "_listeners", "answers", "context", "request")

    def __init__(self, request: Req_co, context: "RequestContext") -> None:
        self.request: Req_co = request
        self.context: RequestContext = context
        self.answers: int = 0
        """How many answers the handler has sent, without the final answer."""
        self._ending: Ending | Failure | None = None
        self._listeners: list[Callable[[Message], None]] = []

    @property
    def ending(self) -> Ending | Failure | None:
        """What the request ended with.

        None while it runs and after a crash of the handler. After a cancel or a deadline, it is the
        Failure that was sent to the client.
        """
        return self._ending if self._ending is not None else self.context.said

    @property
    def ending_code(self) -> str:
        """`ending` as a gRPC status name: OK, the Failure's code, or INTERNAL if there is none."""
        ending = self.ending
        if ending is None:
            return "INTERNAL"
        return ending.code.value if isinstance(ending, Failure) else "OK"

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Call `listener` synchronously with each answer of a stream, before it is sent."""
        self._listeners.append(listener)

    def answered(self, answer: Message) -> None:
        """Count an answer and call the listeners."""
        self.answers += 1
        for listener in self._listeners:
            listener(answer)

    def end(self, ending: Ending | Failure | None) -> None:
        """Record what the request ends with; None: a crash."""
        self._ending = ending

    def noticed(
        self, _kind: type[BaseException] | None, raised: BaseException | None, _: object
    ) -> None:
        """Record what an interceptor raises, for the interceptors outside it."""
        if raised is not None:
            self.end(raised if isinstance(raised, Failure) else None)


Interceptor: TypeAlias = Callable[[Call[Req_co]], AbstractAsyncContextManager[None, bool | None]]
"""An interceptor of requests of one type. One of `Call[Message]` fits every request."""


async def run_intercepted(
    handler: "AnyHandler", call: Call[Message], interceptors: Sequence[Interceptor[Message]]
) -> Ending:
    """Run the handler inside its interceptors, the first one outermost, and return its end."""
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
        raise raised  # an interceptor swallowed it
    assert ending is not None
    return ending
