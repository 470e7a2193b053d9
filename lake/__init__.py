"""Everything that touches a disk or the network: lakehouse, state database, ledger, venues."""
