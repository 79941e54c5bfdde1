"""Actors, mailboxes and supervision. This package has never heard of a session."""
