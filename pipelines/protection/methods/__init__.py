"""Methods of `protect` as they are carried out: on single values, and on columns."""
