"""Report: what happened? JSON for programs, a page and a terminal for people."""
