"""From files to pixels: which files may be pictures, the one recipe that reads them, and the processes that do it."""
