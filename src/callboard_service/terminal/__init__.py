"""Implements the commands that talk to a running service, above all `callboard chat`.

chat ── interactive ──┬── commands ── room ── live ── feed, turn_view, view
     │                └── prompts, asks
     └─ oneshot ── turn_view, view
both: connect, conversation, memory
"""
