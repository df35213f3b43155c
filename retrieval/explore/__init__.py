"""More than nearest neighbours: directions, novelty, sums, the plane of the map, tables for other programs."""
