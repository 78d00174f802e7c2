"""Social dilemmas, bargaining and deception."""
