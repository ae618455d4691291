"""Documents: rows that stand in a structure of their own, as in messages of laboratories and exports of trials."""
