"""Tiles of the Earth: pictures, heights and coasts, pixel by pixel in register."""
