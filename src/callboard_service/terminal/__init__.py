"""`callboard chat`: a person, or a program through a pipe, talks with a model.

chat ── interactive ──┬── reply ── view, prompts (asks)
     └─ oneshot ──────┘   connect, conversation, memory
"""
