"""What is a copy of what, and what is done about it."""
