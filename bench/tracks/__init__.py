"""One folder a track."""
