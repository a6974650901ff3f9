"""Finding peers and joining a mesh: tickets, bootstrap lists, the book of known peers, mDNS. docs/joining.md"""
