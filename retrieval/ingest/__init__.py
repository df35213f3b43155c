"""From folders to rows and codes, in three steps: survey, encode, commit."""
