"""Study of emergent languages: measures over logs and forks."""
