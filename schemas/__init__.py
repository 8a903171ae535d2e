"""The manifest vocabulary: one pydantic model per kind. Imports pydantic only and knows no tool."""
