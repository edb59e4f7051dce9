"""What families, domains and data sets promise each other."""
