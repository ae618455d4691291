"""HTTP: one client, its logins, links, waits and answers."""
