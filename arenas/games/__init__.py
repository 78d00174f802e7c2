"""The games that ship with Sabir, by kind."""
