"""All agencies that this environment can reach, by name: found in folders, placed by the deployment file.

An agency kind is a folder of this package with a `manifest.toml`; nothing lists the folders, so that adding an
agency changes no other file. An instance of a kind is reachable where the deployment file says so; one that it
leaves out is not (an environment need not have all of them), and one that no manifest knows stops the start.
"""

import importlib
from collections.abc import Mapping
from importlib import resources

from adapters.client import AgencyClient
from adapters.contract import Operation
from adapters.errors import Misconfigured, SignatureRefused, Unsupported
from adapters.keyring import KeyRing, PublicKeys
from adapters.manifest import Deployment, Manifest, read_manifest
from consent.keys import KeyStore
from consent.token import TokenMinter


def kinds() -> Mapping[str, Manifest]:
    """Every agency kind of this package, by folder name. Raises Misconfigured."""
    found = {}
    for folder in sorted(resources.files("adapters").iterdir(), key=lambda entry: entry.name):
        manifest = folder / "manifest.toml"
        if manifest.is_file():
            found[folder.name] = read_manifest(manifest.read_bytes(), folder.name, operations_of(folder.name))
    return found


def operations_of(kind: str) -> Mapping[str, Operation]:
    """The operations of a kind, from its adapter. Raises Misconfigured where there is none."""
    try:
        operations: Mapping[str, Operation] = importlib.import_module(f"adapters.{kind}.adapter").OPERATIONS
    except (ImportError, AttributeError) as error:
        raise Misconfigured(f"adapters/{kind}: it has a manifest but no adapter with OPERATIONS") from error
    return operations


class Registry:
    """The agencies of one environment; closed by the loop that used it."""

    def __init__(
        self,
        manifests: Mapping[str, Manifest],
        deployments: Mapping[str, Deployment],
        minter: TokenMinter,
        key_store: KeyStore,
    ) -> None:
        """Raises Misconfigured for a deployment of an agency that no manifest knows."""
        homes = {name: manifest for manifest in manifests.values() for name in manifest.agencies}
        unknown = sorted(deployments.keys() - homes.keys())
        if unknown:
            raise Misconfigured(
                f"the deployment file names agencies without a manifest: {', '.join(unknown)}"
            )
        self._owners = _owners(deployments)
        self._agencies: dict[str, AgencyClient] = {}
        self._key_rings: dict[str, KeyRing] = {}
        for name, deployment in deployments.items():
            client = AgencyClient(
                name,
                operations=operations_of(homes[name].id),
                limits=homes[name].limits,
                deployment=deployment,
                minter=minter,
                key_store=key_store,
            )
            self._agencies[name] = client
            self._key_rings[name] = KeyRing(client.fetch, deployment)

    @property
    def names(self) -> frozenset[str]:
        """Names of all agencies that can be reached."""
        return frozenset(self._agencies)

    def agency(self, name: str) -> AgencyClient:
        """The agency of this name. Raises Unsupported where this environment has none."""
        try:
            return self._agencies[name]
        except KeyError:
            raise Unsupported(f"no agency '{name}' is deployed here") from None

    def unavailable(self) -> list[str]:
        """Agencies that do not answer at present: no call to them needs to be tried."""
        return [name for name, agency in self._agencies.items() if agency.is_gone]

    def agency_of_key(self, key_id: str) -> str:
        """The agency that a thumbprint is pinned for. Raises SignatureRefused for any other."""
        try:
            return self._owners[key_id]
        except KeyError:
            raise SignatureRefused("the key is pinned for no agency") from None

    async def keys_of(self, name: str) -> PublicKeys:
        """The pinned keys of an agency by thumbprint. Raises as `agency` does, and Unavailable."""
        self.agency(name)
        return await self._key_rings[name].keys()

    async def aclose(self) -> None:
        """Close all connections to all agencies."""
        for agency in self._agencies.values():
            await agency.aclose()


def _owners(deployments: Mapping[str, Deployment]) -> Mapping[str, str]:
    """Agencies by the thumbprints of their keys. A key says who signed, so that no two agencies share one."""
    owners: dict[str, str] = {}
    for name, deployment in deployments.items():
        for thumbprint in deployment.thumbprints:
            if owners.setdefault(thumbprint, name) != name:
                raise Misconfigured(f"'{owners[thumbprint]}' and '{name}' are pinned to the same key")
    return owners
