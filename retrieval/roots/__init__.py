"""Places that hold pictures: folders, object stores, archives, tables. They list pictures, and give their bytes."""
