"""The daemon: sockets, disk, keys and clocks around the core. It decides nothing."""
