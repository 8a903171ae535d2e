"""The simulator: a queue played against a machine that heats up and swaps, under admission as it is and under what it is compared with."""
