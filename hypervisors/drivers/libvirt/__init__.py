"""KVM machines behind libvirt. Only `driver` is entered from outside, by the registry."""
