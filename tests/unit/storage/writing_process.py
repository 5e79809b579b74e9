"""A process that commits blocks and votes as fast as it can, for tests that kill it or fill its disk.

    python -m tests.unit.storage.writing_process DIRECTORY [BYTES]

Prints `vote H` once the vote for height H is durable and `block H` once block H is; with BYTES, no file may grow larger
than that (the kernel then refuses writes as on a full disk), and the error that follows is printed as `stopped NAME`.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from common.core.errors import InvariantBroken
from common.node.store.chain_store import ChainStore
from common.node.store.storage import LevelDBStore
from common.node.store.vote_log import VoteLog
from tests.support.stored_chain import TwinChain, make_genesis


def run(path: Path) -> None:
    """Open or create, check, then commit for ever."""
    store = LevelDBStore(path / "chain")
    genesis = make_genesis()
    chain = ChainStore(store, genesis)
    if not chain.initialised:
        chain.initialise(genesis, {}, {})
    log = VoteLog.open(path / "votes", genesis.id, chain.vote_log_mark())
    chain.check_consistency(log)
    twin = TwinChain(chain, genesis)
    print("open", chain.tip().height, flush=True)
    while True:
        height = chain.tip().height + 1
        log.append([b"vote %d " % height * 50])
        log.sync()
        print("vote", height, flush=True)
        changes = {b"k%d" % (height * n % 199): b"%d" % height * 20 for n in range(40)}
        chain.commit(**twin.next_block(changes, transactions=4).arguments())
        log.compact(height, chain.tip().block_id)
        print("block", height, flush=True)


def main() -> int:
    """Command line."""
    if len(sys.argv) > 2:
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run(Path(sys.argv[1]))
    except InvariantBroken as error:
        print("stopped", type(error).__name__, str(error)[:200], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
