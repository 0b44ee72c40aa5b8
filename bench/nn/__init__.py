"""What several tracks use, or tracks to come will: diffusion, distances, averages, files of weights."""
