"""The roof: recipes, benchmarks and reproductions, found by name and never imported by the floors below."""
