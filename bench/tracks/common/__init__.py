"""What several tracks share: checks of answers and names, recipes, sources of data, pictures with labels."""
