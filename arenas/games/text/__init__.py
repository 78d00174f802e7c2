"""Games over text."""
