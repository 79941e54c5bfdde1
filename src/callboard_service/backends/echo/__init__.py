"""The backend `echo`, which sends back the text of a message."""
