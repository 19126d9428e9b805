"""What finished runs have scored: statistics, tables, figures and the report."""
