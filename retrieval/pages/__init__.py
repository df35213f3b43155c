"""Sheets and pages: what was found, rendered to bytes or text. Whoever calls writes them."""
