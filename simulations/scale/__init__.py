"""The scale model: the hierarchical swarm of 10,000 and more agents, on measured costs."""
