"""Milvus as the place of the search structure: codes only. The truth stays in a catalog, which ranks candidates."""
