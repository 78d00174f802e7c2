"""Policy-gradient updates."""
