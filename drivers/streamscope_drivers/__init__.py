"""Sources of frames and outputs, found through entry points. Import floor 0 only, and their own library."""
