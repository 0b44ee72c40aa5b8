"""CLIP-style models on emoji of several artists, and on the papers' photographs: shift, new classes, both."""
