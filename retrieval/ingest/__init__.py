"""Bring rows and codes up to date with folders, in three steps: survey, encode, commit."""
