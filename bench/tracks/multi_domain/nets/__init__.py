"""Networks of the track `multi_domain`: bodies, and what rows put on them for several domains."""
