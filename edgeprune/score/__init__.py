"""Score: what does the network lose with each channel? One criterion per file."""
