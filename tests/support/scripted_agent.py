"""A fake ACP agent for tests: it does what each prompt says, and breaks the rules on purpose.

A prompt is a script, made by `script`; its steps are carried out one after the other. What the
agent is like besides is in its Traits. It runs within a test (`FakeProcess`), or as a program:

    python -I tests/support/scripted_agent.py '{"loads": true}'

It needs only the standard library.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

Step: TypeAlias = Mapping[str, Any]
Message: TypeAlias = Mapping[str, Any]

SESSION = "session-1"


@dataclass(frozen=True)
class Traits:
    """What is special about the agent.

    name: in agentInfo; empty: it sends none. bare: it sends no capabilities either. loads: its
    sessions can be loaded. accepts: its promptCapabilities. history: updates that it sends while
    it loads one. before: updates before `session/new` is answered; after: right after it. state:
    more of that answer. sets: the answer to set_mode and set_config_option; None: an error, unless
    it has options. options: its configOptions, which can be set. new_error: the answer to
    session/new. version: that it speaks; None: it does not say. session: the id of its sessions.
    silent: it answers nothing. several: it has several sessions at once, each with an id of its
    own. can: its sessionCapabilities; a copy of its session has that id with
    "-copy". refuses: those that it answers with an error all the same. stubborn: it ends only when
    it is killed. cancel: what it does when it is told to cancel:
        "cancelled", "end_turn", "error": it answers the prompt so.
        "ignore": nothing.
        "waits": it waits for the answer to its permission, and then answers with cancelled.
        "drop": nothing, and it answers every later prompt with cancelled, as gptme.
    """

    name: str = "scripted"
    bare: bool = False
    loads: bool = False
    accepts: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    before: Sequence[Mapping[str, Any]] = ()
    after: Sequence[Mapping[str, Any]] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Any] | None = None
    options: Sequence[Mapping[str, Any]] = ()
    cancel: str = "cancelled"
    new_error: Mapping[str, Any] | None = None
    version: int | None = 1
    session: str = SESSION
    silent: bool = False
    can: Sequence[str] = ()
    refuses: Sequence[str] = ()
    several: bool = False
    stubborn: bool = False


def script(*steps: Step) -> str:
    """Make a prompt with these steps; without an `end` or `fail` it ends with end_turn."""
    return json.dumps(steps)


def update(kind: str, /, **more: Any) -> Step:
    """Send a session/update."""
    return {"update": {"sessionUpdate": kind, **more}}


def say(text: str, /, **more: Any) -> Step:
    """Send a chunk of text."""
    return update("agent_message_chunk", content={"type": "text", "text": text}, **more)


def think(text: str) -> Step:
    """Send a chunk of a thought."""
    return update("agent_thought_chunk", content={"type": "text", "text": text})


def tool(call_id: str, /, *, again: bool = False, **more: Any) -> Step:
    """Send a tool_call; again: a tool_call_update."""
    return update("tool_call_update" if again else "tool_call", toolCallId=call_id, **more)


def ask(*options: tuple[str, str, str], **call: Any) -> Step:
    """Ask for a permission, and go on when it is answered. options: id, kind and name."""
    named = [{"optionId": one, "kind": kind, "name": name} for one, kind, name in options]
    return {"request": "session/request_permission", "params": {"toolCall": call, "options": named}}


def request(method: str, **params: Any) -> Step:
    """Send another request, and go on when it is answered."""
    return {"request": method, "params": params}


def terminal(method: str, number: int = 1, /, **more: Any) -> Step:
    """Send a request about the terminal that the agent got as its first, second, ... one."""
    return request(f"terminal/{method}", terminalId=f"@terminal-{number}", **more)


def shows_terminal(call_id: str, number: int = 1, /, **more: Any) -> Step:
    """Send a tool_call that shows a terminal."""
    content = [{"type": "terminal", "terminalId": f"@terminal-{number}"}]
    return tool(call_id, title="run", content=content, **more)


def notify(method: str, **params: Any) -> Step:
    """Send a notification."""
    return {"notify": method, "params": params}


def raw(text: str) -> Step:
    """Print a line that may be no message."""
    return {"raw": text}


def pause() -> Step:
    """Wait: for `go`, or until the prompt is cancelled."""
    return {"pause": True}


def option(option_id: str, category: str, *values: str, **more: Any) -> Mapping[str, Any]:
    """Return a configOption whose current value is the first one."""
    choices = [{"value": value, "name": value.capitalize()} for value in values]
    select = {"type": "select", "currentValue": values[0], "options": choices} if values else {}
    return {"id": option_id, "name": option_id.capitalize(), "category": category, **select, **more}


def end(reason: str, **more: Any) -> Step:
    """Answer the prompt."""
    return {"end": {"stopReason": reason, **more}}


def fail(code: int, message: str, data: Any = None) -> Step:
    """Answer the prompt with an error."""
    return {"fail": {"code": code, "message": message, "data": data}}


def leave(code: int = 1) -> Step:
    """End the process."""
    return {"leave": code}


OPTIONS = (
    ("always", "allow_always", "Always allow"),
    ("once", "allow_once", "Allow once"),
    ("no", "reject_once", "Reject"),
)
"""As most agents offer them: the widest one first."""


class ScriptedAgent:
    """The agent. print: takes what it prints. leave: ends its process."""

    def __init__(
        self, traits: Traits, print: Callable[[str], None], leave: Callable[[int], None]
    ) -> None:
        self.received: list[Message] = []
        self._traits = traits
        self._print = print
        self._leave = leave
        self._options = [dict(one) for one in traits.options]
        self._steps: list[Step] = []
        self._prompt: Any = None
        self._asked: Any = None
        self._last_id = -1
        self._dropped = False
        self._terminals: list[str] = []

    def receive(self, message: Message) -> None:
        """Take a message."""
        self.received.append(message)
        if "method" not in message:
            if terminal := (message.get("result") or {}).get("terminalId"):
                self._terminals.append(terminal)
            if message.get("id") == self._asked:
                self._asked = None
                self.go()
            return
        method = message["method"]
        if "id" not in message:
            if method == "session/cancel":
                self._cancel()
        elif method == "session/prompt":
            self._begin(message)
        elif not self._traits.silent:
            self._serve(message["id"], method, message.get("params", {}))

    def go(self) -> None:
        """Go on with the script."""
        while self._steps and self._asked is None:
            step = self._steps.pop(0)
            if "pause" in step:
                return
            self._do(step)
        if not self._steps and self._asked is None and self._prompt is not None:
            self._do(end("end_turn"))

    def _serve(self, message_id: Any, method: str, params: Mapping[str, Any]) -> None:
        traits = self._traits
        if method == "initialize":
            self._send(id=message_id, result=self._introduction())
        elif method == "session/new" and traits.new_error is not None:
            self._send(id=message_id, error=traits.new_error)
        elif method == "session/new":
            self._updates(traits.before)
            self._send(id=message_id, result={"sessionId": traits.session, **self._state()})
            self._updates(traits.after)
        elif method in {f"session/{one}" for one in traits.can if one not in traits.refuses}:
            copy = {"sessionId": f"{traits.session}-copy"} if method == "session/fork" else {}
            self._send(id=message_id, result=copy)
        elif method == "session/load" and traits.loads and params["sessionId"] == traits.session:
            self._updates(traits.history)
            self._send(id=message_id, result=self._state())
        elif method.startswith("session/set_") and traits.sets is not None:
            self._send(id=message_id, result=traits.sets)
        elif method == "session/set_config_option" and self._options:
            for option in self._options:
                if option["id"] == params["configId"]:
                    option["currentValue"] = params["value"]
            self._send(id=message_id, result=self._state())
        else:
            self._send(id=message_id, error={"code": -32601, "message": f"no {method}"})

    def _state(self) -> Mapping[str, Any]:
        options = {"configOptions": self._options} if self._options else {}
        return {**self._traits.state, **options}

    def _introduction(self) -> Mapping[str, Any]:
        traits = self._traits
        answer: dict[str, Any] = {}
        if traits.version is not None:
            answer["protocolVersion"] = traits.version
        if not traits.bare:
            answer["agentCapabilities"] = {
                "loadSession": traits.loads, "promptCapabilities": traits.accepts,
                "sessionCapabilities": {one: {} for one in traits.can},
            }  # fmt: skip
            answer["authMethods"] = [{"id": "login", "name": "Log in", "description": "Run login"}]
        if traits.name:
            answer["agentInfo"] = {"name": traits.name, "version": "1"}
        return answer

    def _begin(self, message: Message) -> None:
        if self._dropped:
            self._send(id=message["id"], result={"stopReason": "cancelled"})
            return
        if self._prompt is not None:
            self._send(id=message["id"], error={"code": -32603, "message": "busy"})
            return
        self._prompt = message["id"]
        self._steps = json.loads(message["params"]["prompt"][0]["text"])
        self.go()

    def _cancel(self) -> None:
        how = self._traits.cancel
        self._dropped = self._dropped or how == "drop"
        if self._prompt is None or how in ("ignore", "drop"):
            return
        if how == "waits" and self._asked is not None:
            self._steps = [end("cancelled")]
            return
        self._steps, self._asked = [], None
        if how == "error":
            self._do(fail(-32603, "Internal error"))
        else:
            self._do(end(how))

    def _do(self, step: Step) -> None:
        """Carry out one step."""
        for number, terminal in enumerate(self._terminals, 1):
            step = json.loads(json.dumps(step).replace(f"@terminal-{number}", terminal))
        match step:
            case {"update": said}:
                self._updates([said])
            case {"request": method, "params": params}:
                self._last_id += 1
                self._asked = self._last_id
                shown = {"sessionId": self._traits.session, **params}
                self._send(id=self._asked, method=method, params=shown)
            case {"notify": method, "params": params}:
                self._send(method=method, params=params)
            case {"raw": text}:
                self._print(text)
            case {"end": result}:
                prompt, self._prompt = self._prompt, None
                self._send(id=prompt, result=result)
            case {"fail": error}:
                prompt, self._prompt, self._steps = self._prompt, None, []
                self._send(id=prompt, error=error)
            case {"leave": code}:
                self._steps = []
                self._leave(code)
            case _:
                raise AssertionError(step)

    def _updates(self, updates: Sequence[Mapping[str, Any]]) -> None:
        for one in updates:
            meta = {"_meta": one["_meta"]} if "_meta" in one else {}
            params = {"sessionId": self._traits.session, "update": one, **meta}
            self._send(method="session/update", params=params)

    def _send(self, **message: Any) -> None:
        self._print(json.dumps({"jsonrpc": "2.0", **message}))


class SeveralSessions:
    """An agent that has several sessions at once. Each is a ScriptedAgent."""

    _begun = itertools.count(1)

    def __init__(
        self, traits: Traits, print: Callable[[str], None], leave: Callable[[int], None]
    ) -> None:
        self.received: list[Message] = []
        self.sessions: dict[str, ScriptedAgent] = {}
        self._traits = traits
        self._print = print
        self._leave = leave
        self._itself = ScriptedAgent(traits, print, leave)

    def receive(self, message: Message) -> None:
        """Take a message, and hand it to its session."""
        self.received.append(message)
        params, method = message.get("params", {}), message.get("method", "")
        if method == "session/new":
            self._begin(f"{SESSION}-{next(self._begun)}").receive(message)
        elif method == "session/load":
            assert params["sessionId"] not in self.sessions, "the session is live"
            self._begin(params["sessionId"]).receive(message)
        elif params.get("sessionId") in self.sessions:
            self.sessions[params["sessionId"]].receive(message)
        elif method:
            self._itself.receive(message)
        else:
            for session in self.sessions.values():
                session.receive(message)

    def _begin(self, session_id: str) -> ScriptedAgent:
        traits = replace(self._traits, session=session_id)
        made = self.sessions[session_id] = ScriptedAgent(traits, self._print, self._leave)
        made._last_id = 1000 * next(self._begun)
        return made

    def go(self) -> None:
        """Go on with all scripts."""
        for session in self.sessions.values():
            session.go()


class FakeProcess:
    """The agent within a test, in place of a process. It has the methods of GuardedProcess."""

    def __init__(
        self,
        traits: Traits,
        received: Callable[[bytes], None],
        ended: Callable[[str], None],
        ends: asyncio.Event,
    ) -> None:
        self.closed = False
        self._ends = ends
        self._received = received
        self._ended = ended
        self._begun = b""
        kind = SeveralSessions if traits.several else ScriptedAgent
        self.agent: Any = kind(traits, self._out, self.end)

    def _out(self, text: str) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, text.encode() + b"\n")

    def _deliver(self, data: bytes) -> None:
        if not self.closed:
            self._received(data)

    def write(self, data: bytes) -> None:
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            if not self.closed:
                self.agent.receive(json.loads(line))

    def end(self, code: int) -> None:
        """End as if by itself."""
        asyncio.get_running_loop().call_soon(self._end, code)

    def _end(self, code: int) -> None:
        if not self.closed:
            self.closed = True
            self._ended(f"the agent ended with exit code {code}: out of luck")

    async def drained(self) -> None:
        pass

    async def close(self, *, patience: float, grace: float) -> None:
        await self._ends.wait()
        self.closed = True


class FakeAgents:
    """Starts agents within a test. `started`: oldest first. `ends`: none ends while it is clear."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.started: list[FakeProcess] = []
        self.ends = asyncio.Event()
        self.ends.set()

    @property
    def last(self) -> FakeProcess:
        """The newest one."""
        return self.started[-1]

    def sent(self, method: str) -> list[Any]:
        """Return the parameters of what all agents were sent of this method."""
        messages = [message for process in self.started for message in process.agent.received]
        return [message["params"] for message in messages if message.get("method") == method]

    def answers(self) -> list[Any]:
        """Return the results and errors that the agents got for their own requests."""
        messages = [message for process in self.started for message in process.agent.received]
        return [
            message["result"] if "result" in message else message["error"]
            for message in messages
            if "method" not in message
        ]

    async def start(
        self, received: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> FakeProcess:
        process = FakeProcess(self.traits, received, ended, self.ends)
        self.started.append(process)
        return process


def main() -> None:
    """Run the agent over standard input and output."""
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    known = {one.name for one in fields(Traits)}
    traits = Traits(**{key: value for key, value in given.items() if key in known})

    def out(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    kind = SeveralSessions if traits.several else ScriptedAgent
    agent = kind(traits, out, os._exit)
    if traits.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        agent.receive(json.loads(line))
    while traits.stubborn:
        signal.pause()


if __name__ == "__main__":
    main()
