"""From one network to a family: smaller and larger members under budgets, by published or fitted coefficients."""
