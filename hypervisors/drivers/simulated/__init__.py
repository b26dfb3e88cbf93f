"""The shipped simulated hypervisor. `driver` is entered by the registry, `world` by whoever makes one: demo, tests."""
