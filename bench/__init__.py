"""Compare the service's speed with that of other servers: `make bench`."""
