"""One file for each change of the Store's tables."""
