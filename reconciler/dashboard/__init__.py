"""The dashboard: pages on the API's application. They ask the API, in this process, and nothing else: who may see what is decided there."""
