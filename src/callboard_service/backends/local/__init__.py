"""The backend `local`: a model on this machine, in a process of its own."""
