"""HTTP routes, one module a kind of caller: citizen, agency, identity, tokens, health."""
