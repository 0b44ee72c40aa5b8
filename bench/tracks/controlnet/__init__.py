"""The track `controlnet`: a pre-trained diffusion model learns to follow a condition; steps until it does."""
