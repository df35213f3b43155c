"""An index on a server: the same catalog on PostgreSQL, and caches in this user's folder."""
