"""The measured servers, each its own program: `python -m bench.servers.NAME`."""
