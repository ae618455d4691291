"""Streaming: rows that go from one PostgreSQL into another by binary COPY, in the place of load files."""
