"""Read files as pixels: which files may be pictures, the one recipe that reads them, and the worker processes."""
