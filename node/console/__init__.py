"""The command line's commands: what they ask of the daemon and how they show it. `swarmd.cli` parses for them."""
