"""An arbiter outside of the mesh: which plan wins is recorded in etcd, by compare-and-set (docs/arbiter.md)."""
