"""What an embedding holds beyond neighbours: directions, novelty, a plane, tables for other programs."""
