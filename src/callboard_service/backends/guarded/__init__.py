"""Programs that run under a guardian, which ends every process that they leave.

- `guardian`, `guardian_windows`: the guardian's program.
- `process`: the service's side: a program that runs, and its end.
- `pipes`: the pipes and the socket between them.
"""
