"""The product: tenants, machines, the tree of VM snapshots, jobs, and the doors to them."""
