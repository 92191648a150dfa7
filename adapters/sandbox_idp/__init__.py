"""A sandbox identity provider: a real OpenID Connect provider whose people are made up. It is no agency.

It speaks the protocol in full and refuses what a good provider refuses; only the question who somebody is, it
answers by letting one choose a persona. Anybody who can reach it can be anybody it knows: for demonstrations
and tests, never for people. Clients, keys and redirect addresses are fixed when it starts.
"""

from adapters.sandbox_idp.app import create_app
from adapters.sandbox_idp.clients import Client, IdpConfig

__all__ = ["Client", "IdpConfig", "create_app"]
