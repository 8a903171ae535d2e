"""The page that asks for a token. It needs no script."""

from __future__ import annotations

from markupsafe import Markup

from reconciler.dashboard import marks

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · mlops-reconciler</title><link rel="stylesheet" href="{base}/assets/dashboard.css"></head>
<body><main class="card" style="max-width:32rem;margin:12vh auto"><h1>Log in to mlops-reconciler</h1>{why}
<form method="post" action="{base}/login" class="filters"><label for="token">Token
<input id="token" name="token" type="password" autocomplete="current-password" required size="40" autofocus></label>
<button type="submit">Log in</button></form>
<p class="small">`reconcile token create NAME --role operator` makes one. It stays in the memory of the loop, not in your browser.</p>
<p><a href="{base}/">Back, without logging in</a></p></main></body></html>"""


def login_page(why: str = "") -> str:
    """`why`: what was wrong with what was given."""
    return str(Markup(_PAGE).format(base=marks.BASE, why=marks.trouble(why) if why else ""))
