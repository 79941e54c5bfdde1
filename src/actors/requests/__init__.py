"""What an extension writes, and how it is found."""
