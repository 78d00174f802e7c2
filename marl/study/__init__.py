"""What the agents came to mean to each other: metrics over logs and forks."""
