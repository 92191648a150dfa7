"""The front door: HTTP to citizens, agencies, auditors and third parties; settings; the command line.

The only package that knows Litestar and the only one that knows which database it runs on.
"""
