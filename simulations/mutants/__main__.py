"""`python -m swarmd.simulations.mutants [NAME]`."""

from swarmd.simulations.mutants.hunting import main

if __name__ == "__main__":
    raise SystemExit(main())
