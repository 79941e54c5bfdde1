"""A session as a pure state machine: frames and the time go in, effects and bytes come out."""
