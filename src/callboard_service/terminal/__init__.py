"""Implements the commands that talk to a running service, above all `callboard chat`.

chat ── interactive ──┬── reply ── view, prompts (asks)
     └─ oneshot ──────┘   connect, conversation, memory
"""
