"""The paper's study: its cells, the sweep, tables, figures and report."""
