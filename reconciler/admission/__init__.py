"""Admission: what may start now on which node, and why the rest waits. `decide` is one pure function over one snapshot."""
