"""Searches hyper-parameters: who draws values (`samplers`), and which rows are searched with them (`rows`)."""
