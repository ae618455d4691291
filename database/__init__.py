"""PostgreSQL: tables, their migrations, and every statement on them."""
