"""What the citizens' application calls: services, cases and their documents, consents.

Everything but the catalogue needs a session; every change needs its CSRF token; every POST that creates or
moves something needs an Idempotency-Key, and every change of a draft the ETag it was made from (If-Match).
What belongs to another person does not exist here: 404.
"""
