"""Where vectors and facts live: rows and vectors, never pictures."""
