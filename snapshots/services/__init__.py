"""Where the rules live: one verb on one noun each. Doors (pages, REST, admin, tasks) come in here."""
