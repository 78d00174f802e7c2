"""Context of a policy: the part of the log that it reads, as text or token ids."""
