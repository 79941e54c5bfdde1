"""A session as a pure state machine: frames and the time in, effects and bytes out."""
