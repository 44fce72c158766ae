"""Large co-registered images of two sensors, cut into tiles: pairs from scenes."""
