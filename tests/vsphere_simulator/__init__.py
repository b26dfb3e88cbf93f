"""A vSphere API server for tests and for the demo: Debian's packaged simulator library of govmomi, behind a small launcher
of our own in Go (`launcher/`), started and told what to do from here.

Tests enter through `server.VsphereSimulator` (a context manager); the demo through `python -m tests.vsphere_simulator`.

Whose behaviour a test sees. The library's (0.24.2, not written by us): the wire, login and sessions, the inventory with
folders, pools and hosts, views, reading properties, reconfiguring, searching datastores, custom attributes. Ours
(`launcher/`, written from VMware's documentation and from what pyvmomi says of each method): snapshots and what a revert
restores, renaming, consolidation, limits of a chain, delta disks and `layoutEx`, power, questions, tasks that last, fail,
are cancelled or forgotten, TaskInProgress, privileges, pages, waiting for changes, NotAuthenticated for every call
without a session.

What it cannot show, and what has therefore never been tried on a real vCenter or ESXi host by these tests:

- data: disks are empty files, so that a snapshot or a revert keeps and restores no data; sizes are made up;
- what merging disks costs, in time and space, and failures in the middle of it;
- quiescing: a flag is kept; no guest is asked;
- physical raw mappings, shared buses, encrypted machines, vSAN, storage policies, fault tolerance, linked clones;
- rules for names: a real server may refuse what is accepted here (InvalidName);
- real roles: what was taken from the account is missing on everything alike;
- an API newer than 6.5, so also CreateSnapshotEx; vSphere's tags, which are REST's; single sign-on;
- a revert with suppressPowerOn to a snapshot with memory: here the machine is off afterwards;
- several vCenters, migration between hosts, hosts that fail, the server's own pace and limits.
"""
