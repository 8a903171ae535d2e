"""REST `/api/v1`: what the Store holds and the loop knows, as JSON; orders for the loop. Calls no controller; see docs/api.md."""
