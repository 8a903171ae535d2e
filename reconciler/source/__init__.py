"""Where manifests come from: files now; what reads them gives the same values for every kind of source."""
