"""Many runs of one network: a cell for each choice of settings, and what to ship."""
