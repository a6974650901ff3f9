"""The pure core: everything that decides. No IO, no clock, no dice, no logging."""
