"""What the command line looks like: a module for each family of commands, nothing of what they do."""
