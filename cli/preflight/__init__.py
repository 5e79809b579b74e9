"""Before a running chain is changed: may the next node be restarted, may these validators change places?"""
