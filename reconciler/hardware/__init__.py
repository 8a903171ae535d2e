"""What this machine is, and how hot and how full it is now: raw readings through one function each, put on one scale."""
