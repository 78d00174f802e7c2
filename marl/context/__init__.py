"""Context: what a policy reads of the log, as text or token ids."""
