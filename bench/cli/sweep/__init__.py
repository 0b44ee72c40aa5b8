"""Commands that plan cells and run them: ``tour``, ``plan``, ``run``, ``status``, ``rerun``."""
