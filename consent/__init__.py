"""Why each access to personal data is lawful, provably.

The lowest room of the house: lawful bases and their life cycle, the policy that turns one into a permit,
the tokens that carry a permit to an agency, and the verifiable log of everything that was done.
It imports nothing of ours.
"""
