"""Pictures: grids, maps, charts, curves, sheets of thumbnails."""
