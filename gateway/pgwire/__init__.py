"""The PostgreSQL protocol without I/O: messages, framing, and the state machine of a session.

Nothing here imports trio, socket or time; bytes come in, bytes and frozen actions go out.
"""
