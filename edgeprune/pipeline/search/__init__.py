"""How a round finds its plan: by the solver, by principal components, or to grow."""
