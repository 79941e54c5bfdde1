"""The backend `acp`: any agent that speaks the Agent Client Protocol, as a child process.

- `jsonrpc`: bytes to messages and back. No I/O.
- `updates`, `calls`, `permissions`: what an agent reports of one turn, as the contract's events.
  No I/O.
- `connection`: one agent process and the messages to and from it.
- `agent`: one conversation with an agent: its session, its turns and their end.
- `agents`: the running agents, one process for each conversation.
- `backend`: the ChatBackend.
The process runs under a guardian (`backends.guarded`), which ends it with all that it has started.
"""
