"""Metrics of messages and meanings: pure functions of counts and arrays."""
