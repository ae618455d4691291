"""The data plane on a database and a directory of the tests' own."""
