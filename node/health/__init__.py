"""What is wrong with a node, and how to mend it: `swarmd doctor`, `config check` and `bugreport` (docs/doctor.md)."""
