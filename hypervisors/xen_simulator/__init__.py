"""A XenServer pool that is none: a server that speaks XenAPI over TLS, for the demo and the tests.

It runs as a process of its own (`python -m hypervisors.xen_simulator`) and knows neither the product nor its drivers.
The demo starts that process, tests do it through `process`; nobody but the simulator's own tests enters the other rooms.
"""
