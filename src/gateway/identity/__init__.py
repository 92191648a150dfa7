"""Who is at the other end: login at an OpenID provider, persons, and sessions kept by the server.

`provider` and `oidc` are the relying party, `login` carries one login through the browser, `persons` and
`session_store` keep who came and for how long we believe it, `sessions` is what routes use of all this.
"""
