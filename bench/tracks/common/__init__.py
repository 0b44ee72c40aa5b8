"""What several tracks share: checks of answers, recipes, sources of data, labelled pictures, the steps."""
