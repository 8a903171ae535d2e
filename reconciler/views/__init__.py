"""What is shown to people and programs, gathered from the Store and the sensors: the same for the command line and the API. Reads only."""
