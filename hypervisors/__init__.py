"""Talking to hypervisors: the driver contract, the drivers, and the endpoints they connect to.

This package knows nothing of tenants, snapshots as rows, jobs or pages; `snapshots` calls it, never the other way.
"""
