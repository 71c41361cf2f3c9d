"""The player's page: what `/watch` and `/embed` show. Nothing on it is loaded from elsewhere."""

from html import escape

ASSETS = frozenset({"hls.light.min.js", "player.js", "player.css", "dashboard.css"})


def page(title: str, description: str, stream_path: str, *, embedded: bool) -> str:
    """Return the page that plays a playlist of this server. Whatever the texts hold, they are shown as text."""
    name = escape(title)
    words = "" if embedded else f"<h1>{name}</h1>" + (f"<p>{escape(description)}</p>" if description else "")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/player/player.css">
<script src="/player/hls.light.min.js" defer></script>
<script src="/player/player.js" defer></script>
</head>
<body class="{"embed" if embedded else "watch"}">
<main>
<video id="video" controls playsinline data-stream="{escape(stream_path)}" aria-label="{name}"></video>
<p id="problem" role="alert" hidden></p>
{words}
</main>
</body>
</html>
"""


def headers(*, embedded: bool) -> dict[str, str]:
    """Return the page's headers: it runs its own scripts only, and only `/embed` may stand in another site's frame."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "'self'",
        "media-src": "'self' blob:",
        "worker-src": "'self' blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "*" if embedded else "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }
