"""Being reached from behind a NAT: AutoNAT, circuit relay v2, DCUtR. docs/discovery.md"""
