"""A client of the service, for programs: typed requests in, typed answers out as they come.

    async with Client(by_runtime_file()) as client:
        made = await client.call(CreateSessionRequest(title="first"), SessionInfo)
        prompt = SendMessageRequest(session_id=made.id, text="Hello!")
        async for token in client.stream(prompt, ChatToken):
            print(token.text, end="")

What is between it and the service may be cut at any time: it comes back, takes up its session, and
no answer is lost or comes twice. `transport.client.protocol` decides; here it is carried out.
"""

from transport.client.client import Client, Finder, by_runtime_file, by_url

__all__ = ["Client", "Finder", "by_runtime_file", "by_url"]
