"""How things are measured and judged: timings side by side, episodes, intervals."""
