"""The backend `opencode`: conversations with the OpenCode server, the open-source coding agent.

backend ── server ── feed     reads the event stream into the replies that run
   │          │ └─── aborts   stops what nobody waits for any more
   │          └ child         the server's process, where it is ours
   └ run                      what the events mean; no I/O
"""
