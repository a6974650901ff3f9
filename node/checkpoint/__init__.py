"""The checkpoint room: snapshots made, checked, kept and served; old batches put away; newcomers brought up to date."""
