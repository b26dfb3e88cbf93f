"""One package per hypervisor, each translating the contract in `hypervisors.driver`."""
