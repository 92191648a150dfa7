"""What a browser sees at `/` and at a case's address while this release has no portal: where things are.

Plain HTML, the same for everybody, with nothing of a person and nothing loaded from elsewhere.
"""

from uuid import UUID

from litestar import Response, Router, get
from litestar.enums import MediaType
from litestar.params import FromPath

_PAGE = """<!doctype html>
<html lang="zh-Hant-TW">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>onestop 單一服務窗口</title>
</head>
<body>
<main>
<h1>單一服務窗口 <span lang="en">Single window</span></h1>
<p>本系統目前提供程式介面；網頁介面尚未包含在此版本。</p>
<p lang="en">This release offers the programming interface; the portal is not part of it yet.</p>
<ul>
<li><a href="/login?return_to=/api/v1/session">登入 <span lang="en">Log in</span></a></li>
<li><a href="/api/v1/services">可申辦的服務 <span lang="en">What one can apply for</span></a></li>
<li><a href="/api/v1/cases">我的案件 <span lang="en">My cases</span></a></li>
<li><a href="/schema/openapi.json">介面規格 <span lang="en">The interface</span></a></li>
</ul>
</main>
</body>
</html>
"""


@get(["/", "/cases"], include_in_schema=False)
async def landing() -> Response[str]:
    """Where things are."""
    return Response(_PAGE, media_type=MediaType.HTML)


@get("/cases/{case_id:uuid}", include_in_schema=False)
async def case_landing(case_id: FromPath[UUID]) -> Response[str]:
    """Where a person lands who comes back from paying or follows a notification; says nothing of the case."""
    return Response(_PAGE, media_type=MediaType.HTML)


router = Router(path="/", route_handlers=[landing, case_landing])
