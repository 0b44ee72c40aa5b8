"""A board as text: for the terminal, as Markdown, as CSV; and the wording that all renderers share."""
