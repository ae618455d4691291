"""The control plane's parts on a database and a Prefect of the tests' own."""
