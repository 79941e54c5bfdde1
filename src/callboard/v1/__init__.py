"""Version 1 of the wire contract: chat_pb2, envelope_pb2, session_pb2."""
