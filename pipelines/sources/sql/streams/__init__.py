"""Streams: tables of PostgreSQL whose rows go to another PostgreSQL by binary COPY, without a look at any value."""
