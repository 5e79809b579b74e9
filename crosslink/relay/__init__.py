"""The crosslink relay: reads business chains, carries what they committed to the custody chain, keeps no state of its
own.

It is not trusted with anything: the custody validators verify every byte that it delivers. It only reads business
chains.
"""
