"""Cultural transmission: generations, teaching, imitation, drift."""
