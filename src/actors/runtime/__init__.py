"""Actors, mailboxes and supervision. This package does not depend on sessions or requests."""
