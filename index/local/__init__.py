"""An index in a folder: a SQLite catalog, FAISS caches of its codes, and the model's copy."""
