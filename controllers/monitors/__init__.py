"""What the controller of Monitors is made of."""
