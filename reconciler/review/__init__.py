"""A plan where it is reviewed: one comment of a pull request, kept up to date, a status of its commit, annotations of its lines."""
