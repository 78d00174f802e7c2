"""Credit assignment in training: forks, counterfactuals, shaping, values."""
