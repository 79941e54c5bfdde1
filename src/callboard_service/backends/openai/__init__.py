"""The backend `openai`: any server with the OpenAI chat-completions API.

backend ── conversations, replies, tries
   api ── HTTP: one session, its addresses, the models
   answer ── one streaming answer, read as it is asked for
     sse, completion, arguments ── bytes, chunks and tool arguments, without I/O
     refusals ── whatever the server says against it, in the contract's codes
"""
