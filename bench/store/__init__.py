"""Where records and artifacts live, and what they were made from."""
