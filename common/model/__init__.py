"""The cross-chain data model: each kind of data object with its writer, reader and schema side by side."""
