"""For tests and tools: simulated recordings, naive twins of the kernels, stage checks."""
