"""The servers that are measured, each a program of its own: `python -m bench.servers.NAME`."""
