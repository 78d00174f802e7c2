"""Data of a study: messages with their meanings, lexicons, imports and exports."""
