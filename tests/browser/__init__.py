"""The product as people meet it: `run_all` with real machines, a real Chromium."""
