"""The study of agents on codes: its cells, their analysis, tables, figures and report."""
