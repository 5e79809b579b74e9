"""A chain of another make, which shares nothing with ours: what the port must carry, shown by carrying it.

BLAKE2b of 48 bytes and ECDSA over secp256k1 with SHA3-256; validators with weights; slots instead of heights, most of
them empty; a header that neither counts its objects nor names the next validators (a hand-over signed by the old ones
does); objects in a chain of hashes; JSON-RPC, one block a request, without long polls.
"""
