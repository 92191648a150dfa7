"""Pages that a person sees at a sandbox, marked so that nobody takes them for an agency's own."""

from html import escape
from string import Template

from litestar import MediaType, Response

# No script, no third party; `form-action` also governs where a form's answer may redirect to.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self' {origin}; frame-ancestors 'none'"

_PAGE = Template("""<!doctype html>
<html lang="zh-Hant-TW">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 1rem/1.6 system-ui, sans-serif; margin: 0 auto; max-width: 44rem; padding: 1rem; color: #1c2733; }
.sample { background: #8a1c1c; color: #fff; font-weight: 700; padding: .5rem 1rem; text-align: center; }
label { display: block; margin: .75rem 0; } input, button { font: inherit; padding: .5rem; }
button { background: #0b4f8a; border: 0; color: #fff; } table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #b8c4d0; padding: .4rem; text-align: left; vertical-align: top; }
</style></head>
<body><p class="sample" role="note">範例 SAMPLE</p><main><h1>$title</h1>
$body
</main></body></html>
""")


def page(title: str, body: str, *, origin: str, status: int = 200) -> Response[str]:
    """A page with this title (plain text) and body (HTML, escaped by whoever wrote it)."""
    return Response(
        _PAGE.substitute(title=escape(title), body=body),
        status_code=status,
        media_type=MediaType.HTML,
        headers={
            "Content-Security-Policy": POLICY.format(origin=origin),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
