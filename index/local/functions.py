"""Functions that SQLite calls in filters. Not every build of it has those of mathematics."""

from __future__ import annotations

import math
import sqlite3

EARTH_KM = 6371.0088  # mean radius


def add_functions(connection: sqlite3.Connection) -> None:
    """Give a connection ``latent_km``, the distance of two places, and ``latent_ln``, the natural logarithm."""
    connection.create_function("latent_km", 4, apart_km, deterministic=True)
    connection.create_function("latent_ln", 1, math.log, deterministic=True)


def apart_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float | None:
    """The distance of two places in degrees along a great circle of a sphere (haversine), in km."""
    if latitude is None or longitude is None:
        return None
    north, other = math.radians(latitude), math.radians(other_latitude)
    across = math.radians(other_longitude - longitude)
    half = math.sin((other - north) / 2) ** 2 + math.cos(north) * math.cos(other) * math.sin(across / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
