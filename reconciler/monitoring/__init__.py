"""The program that looks at one window of a Monitor with Evidently, in a process of its own: see `__main__.py`."""
