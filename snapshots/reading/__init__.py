"""What pages and REST read, with a fixed number of queries. Nothing here changes anything or calls a hypervisor."""
