"""Version 1 of the messages of the board: board_pb2."""
