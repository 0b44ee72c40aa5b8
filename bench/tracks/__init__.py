"""The tracks: each has a folder of its own, and `tracks.common` holds what several of them share."""
