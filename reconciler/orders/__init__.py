"""What people order: the same for the command line, the API and the loop, each order one function."""
