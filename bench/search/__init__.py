"""Searches hyper-parameters: who draws values (`samplers`), and for which rows (`rows`)."""
