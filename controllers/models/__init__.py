"""What a Model is made of: which run is the best, what a version must prove, who has the alias, and what is written where."""
