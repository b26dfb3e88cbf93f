"""The figures of the speed bars, measured side by side in one run: `make bench`."""
