"""How fast the service is, beside its peers: `make bench`."""
