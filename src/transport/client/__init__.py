"""A client of the service, for programs: typed requests, with typed answers as they arrive.

    async with Client(by_runtime_file()) as client:
        made = await client.call(CreateSessionRequest(title="first"), SessionInfo)
        prompt = SendMessageRequest(session_id=made.id, text="Hello!")
        async for token in client.stream(prompt, ChatToken):
            print(token.text, end="")

The connection may be cut at any time: the client reconnects and resumes its session, and no answer
is lost or repeated. `transport.client.protocol` makes the decisions, and the rest of this package
carries them out.
"""

from transport.client.client import Client, Finder, by_runtime_file, by_url

__all__ = ["Client", "Finder", "by_runtime_file", "by_url"]
