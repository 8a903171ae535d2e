"""Where manifests come from: folders of files, and repositories whose files are brought here (`git/`).

What reads them gives the same values for every kind of source."""
