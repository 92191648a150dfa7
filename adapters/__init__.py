"""How each agency is spoken to: one folder a kind of agency, its manifest the only thing others need to know.

The folder is the plug-in: `manifest.toml` names owner, law, instances and operations; `adapter.py` maps the
agency's wire format to ours; `quality.toml` says how far it has come; `sandbox.py` is a real server that
implements the same contract and that production code never imports.
"""
