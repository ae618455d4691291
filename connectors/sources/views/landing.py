"""Columns that every view's table has besides its own. Pure."""

KEY = "_resource_id"
"""The id of the resource that a row was made of, as it lands."""

NUMBER = "_row"
"""Which of the resource's rows it is, from 0."""

NO_ROW = -1
"""The number of the row that says that a resource has none. It lands nowhere."""

NAMED = "id"
"""The column of a file with the ids of resources whose rows are to go."""
