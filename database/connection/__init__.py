"""Sessions with PostgreSQL: addresses, engine, errors in sentences, notifications, holders of locks. No table."""
