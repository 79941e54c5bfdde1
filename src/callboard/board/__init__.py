"""Messages of the board."""
