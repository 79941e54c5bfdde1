"""The backend `openai`: any server with the OpenAI chat-completions API.

backend ── conversations, replies, retries
   lookout ── the actors: the owner of the HTTP session, and a poller for outages
   api ── HTTP: one session, the server's addresses
   models, listing ── the server's models
   fitting ── how much of a conversation fits into the model's context
   answer ── one streaming answer, read on demand
     completion, tool_calls ── chunks and tool calls, without I/O
     refusals, errors ── the server's errors and refusals, in the contract's codes
"""
