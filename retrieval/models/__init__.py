"""Model bundles: encode pictures, decode codes."""
