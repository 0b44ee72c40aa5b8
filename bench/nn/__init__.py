"""Parts of networks that no single track owns: diffusion, distances, averages, files of weights."""
