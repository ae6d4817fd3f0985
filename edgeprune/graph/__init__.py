"""Graph: which channels must go together? Labels, groups, surgery, cost."""
