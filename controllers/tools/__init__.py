"""Thin typed clients of the tools. SDKs are imported inside functions only, so that importing a controller costs nothing."""
