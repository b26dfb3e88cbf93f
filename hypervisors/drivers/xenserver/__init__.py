"""XenServer and XCP-ng pools. Only `driver` is entered from outside, by the registry."""
