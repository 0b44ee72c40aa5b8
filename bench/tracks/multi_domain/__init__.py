"""The track `multi_domain`: several domains trained at once, tested on the same domains."""
