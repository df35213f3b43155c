"""Sheets and pages, rendered to bytes or text. The caller writes them."""
