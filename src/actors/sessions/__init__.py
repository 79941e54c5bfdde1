"""The session actor, which carries out what `actors.protocol` decides."""
