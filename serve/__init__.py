"""``latent serve``: the pictures of an index over HTTP, for a page and for programs. Read only.

FastAPI and uvicorn are the extra ``web``; ``serve.extra`` says the pip line if they are missing.
"""
