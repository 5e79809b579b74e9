"""Bugs planted on purpose: each must be caught by the simulations, or the simulations prove too little.

`bug` says what a planted bug is and puts it in place; `bugs_*` hold the bugs; `hostile`, `packet_world`, `share_world`
and `share_world` are the layers on which they are hunted; `hunt` runs the hunt and the control without any bug.
"""
