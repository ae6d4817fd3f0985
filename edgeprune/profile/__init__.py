"""Profile: what does each layer cost on this target, how fast can the network get?"""
