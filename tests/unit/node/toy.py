"""A small real application for the node's tests: accounts with balances, transfers, a validator set that can change.

Authenticated state: ``balance/<account>`` holds a canonical JSON integer, ``supply`` the total. Index:
``opened/<account>`` the height.
"""

from __future__ import annotations

from typing import Any

from common.chain.application import BlockContext, Outcome, StateReader, StateView
from common.chain.schedule import schedule_protocol, schedule_validators
from common.core.codec import canonical_json, parse_json
from common.core.errors import Forbidden, Malformed, RuleBroken
from common.core.genesis import Genesis, build_genesis
from common.core.parameters import ChainParameters
from common.core.suite import ED25519_SHA256
from common.core.transaction import SignedTransaction, sign_envelope
from common.core.validators import Validator, ValidatorSet
from common.model.object_header import CREATE, build_snapshot

SUITE = ED25519_SHA256
START_MS = 1_700_000_000_000
OPERATIONS = ("toy.crash", "toy.open", "toy.protocol", "toy.transfer", "toy.validators")


def seed_of(name: str) -> bytes:
    """A key seed that follows from a name."""
    return SUITE.hash(f"seed of {name}".encode())


def key_of(name: str) -> bytes:
    """The public key of `seed_of(name)`."""
    return SUITE.public_key(seed_of(name))


def validator_set(names: list[str]) -> ValidatorSet:
    """One validator for each name."""
    return ValidatorSet(tuple([Validator(name, f"of-{name}", key_of(name)) for name in names]))


def make_genesis(names: list[str], **parameters: int) -> Genesis:
    """A toy chain. Everybody whose key is derived from `client-…` may transact; the bank opens with 1,000,000."""
    chosen: dict[str, int] = {"heartbeat_ms": 10_000, "view_timeout_ms": 500, "max_view_timeout_ms": 4_000}
    chosen.update(parameters)
    return build_genesis(
        network="toytown",
        tier="business",
        suite=SUITE,
        time_ms=START_MS,
        validators=validator_set(names),
        application={"bank": 1_000_000, "forbidden_key": SUITE.format_key(key_of("stranger"))},
        parameters=ChainParameters.of(chosen, 1),
    )


def balance_key(account: str) -> bytes:
    """Where an account's balance is."""
    return f"balance/{account}".encode()


class ToyApplication:
    """See the module docstring. `toy.crash` is a bug: it raises what is not a `Rejected`."""

    def __init__(self) -> None:
        self.executed: list[tuple[int, str]] = []
        """(height, nonce) of every call of `execute`, to count executions."""

    def set_of(self, names: list[str]) -> ValidatorSet:
        """The validators of these names."""
        return validator_set(names)

    def initial_state(self, genesis: Genesis, state: StateView) -> None:
        bank = genesis.application["bank"]
        state.put(balance_key("bank"), canonical_json(bank))
        state.put(b"supply", canonical_json(bank))

    def check(self, tx: SignedTransaction, state: StateReader, context: BlockContext) -> None:
        if context.genesis.application["forbidden_key"] in tx.signers:
            raise Forbidden("role_missing", "strangers may not transact here")
        for index, operation in enumerate(tx.operations):
            if operation["type"] not in OPERATIONS:
                raise Malformed("operation_unknown", "no such operation", operation_index=index)

    def begin_block(self, context: BlockContext, state: StateView) -> Outcome:
        return Outcome()

    def execute(self, tx: SignedTransaction, context: BlockContext, state: StateView) -> Outcome:
        self.executed.append((context.height, tx.nonce))
        outcome = Outcome([], [])
        for index, operation in enumerate(tx.operations):
            self._apply(tx, index, operation, context, state, outcome)
        return outcome

    def _apply(
        self,
        tx: SignedTransaction,
        index: int,
        operation: dict[str, Any],
        context: BlockContext,
        state: StateView,
        outcome: Outcome,
    ) -> None:
        if operation["type"] == "toy.crash":
            raise ZeroDivisionError(f"a bug in {operation.get('text')}")
        if operation["type"] == "toy.validators":
            effective_height = operation.get("effective_height", context.height + 1)
            replaces = operation.get("replaces")
            schedule_validators(state, context, self.set_of(operation["names"]), effective_height, replaces)
            return
        if operation["type"] == "toy.protocol":
            schedule_protocol(state, context, operation["version"], operation["height"], operation.get("replaces"))
            return
        if operation["type"] == "toy.open":
            state.put(balance_key(operation["account"]), canonical_json(0))
            state.put_index(b"opened/" + operation["account"].encode(), canonical_json(context.height))
            return
        amount, source, target = operation["amount"], operation["source"], operation["target"]
        available = read_balance(state, source)
        state.put(balance_key(source), canonical_json(available - amount))
        if amount > available:
            raise RuleBroken("balance_too_low", "not enough", operation_index=index, available=available)
        state.put(balance_key(target), canonical_json(read_balance(state, target) + amount))
        object_id = f"{tx.id.hex()[:16]}:{index}"
        outcome.snapshots = [
            *outcome.snapshots,
            build_snapshot(
                kind="registration",
                object_id=object_id,
                version=0,
                operation=CREATE,
                timestamp_s=context.time_ms // 1000,
                body={"source": source, "target": target, "amount": amount},
            ),
        ]
        outcome.objects = [*outcome.objects, (object_id, 0)]

    def operation_types(self, version: int) -> list[str]:
        return list(OPERATIONS)

    def describe(self, state: StateReader, context: BlockContext) -> dict[str, Any]:
        return {}


def read_balance(state: StateReader, account: str) -> int:
    """An account's balance, 0 if it has none."""
    value = state.get(balance_key(account))
    return 0 if value is None else int(parse_json(value, max_size=64))


def make_envelope(
    genesis: Genesis,
    nonce: str,
    operations: list[dict[str, Any]],
    *,
    client: str = "client-1",
    expires_at_height: int = 90_000,
) -> bytes:
    """A signed transaction of one client."""
    transaction = {
        "network": genesis.network,
        "genesis": genesis.id.hex(),
        "signers": [SUITE.format_key(key_of(client))],
        "nonce": nonce,
        "expires_at_height": expires_at_height,
        "operations": operations,
    }
    return sign_envelope(transaction, [seed_of(client)], SUITE)


def transfer(genesis: Genesis, nonce: str, amount: int = 1, target: str = "alice", **options: Any) -> bytes:
    """A transfer from the bank."""
    operation = {"type": "toy.transfer", "source": "bank", "target": target, "amount": amount}
    return make_envelope(genesis, nonce, [operation], **options)
