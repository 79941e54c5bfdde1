"""The backend `echo`: it says what it was told to say."""
