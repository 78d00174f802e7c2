"""Remote seats: agents in other processes, behind a broker."""
