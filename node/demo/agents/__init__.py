"""The agents of the demonstration: plain programs, JSON in, JSON out, standard library only."""
