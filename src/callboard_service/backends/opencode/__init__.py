"""The backend `opencode`: conversations with the OpenCode server, the open-source coding agent.

backend ── server ── feed     reads the event stream and routes events to the running replies
   │          │ └─── aborts   stops replies that nobody waits for any more
   │          └ child         runs the server's process, unless an existing server is used
   └ run                      interprets the events; no I/O
"""
