"""What rows of the track `forecasting` share that needs no network: frames, answers, motion."""
