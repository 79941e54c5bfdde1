"""The backend `opencode`: conversations with the OpenCode server, the open-source coding agent.

backend ── server ── feed     reads the event stream and routes events to the running replies
   │          │ └─── aborts   stops replies that nobody waits for any more
   │          └ child         runs the server's process, unless an existing server is used
   ├ reply ── run             conducts a reply; `run` interprets its events, without I/O
   ├ steering                 hands messages to a running reply
   ├ choosing ── options      keeps what is chosen, and selects what is sent with a message
   └ forks                    copies conversations, with the turns that are kept of them
"""
