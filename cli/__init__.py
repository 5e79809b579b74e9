"""The one command of the suite, `tongjian`: what operators, markets and regulators call from a shell.

Depends on every other package and is imported by none: it composes what they offer and holds no rule of its own.
"""
