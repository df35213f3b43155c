"""The command line: translates words into calls, prints, exits. Nothing else."""
