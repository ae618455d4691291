"""The use cases: everything that people and back ends can do, whichever door they come through."""
