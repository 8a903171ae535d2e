"""One file per kind, five verbs each. `controllers.tools` holds the only code that speaks to a tool."""
