"""Where leased work executes: a supervised process of this machine, or a job of the platform's Ray."""
