"""VMware vSphere: a vCenter or a standalone ESXi host. Only `driver` is entered from outside, by the registry."""
