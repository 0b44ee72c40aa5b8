"""Small sets of pictures that a diffusion transformer is moved to."""
