"""The swarmd command: argument parsing and composition, nothing else."""
def main() -> int:
    raise SystemExit("swarmd: not composed yet")
