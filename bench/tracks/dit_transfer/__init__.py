"""The track `dit_transfer`: a pre-trained diffusion transformer moved to eight targets."""
