"""The board: how the service is now, for a page that shows it as a picture."""
