"""`swarmd demo`: five daemons of five owners on this host take one need from NEED to FINALIZE, on real text."""
