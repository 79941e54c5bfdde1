"""The backend `local`: a model on this machine, in its own process."""
