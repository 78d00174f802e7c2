"""A model's own forward pass: its head, its masks, and a small twin to try both on."""
