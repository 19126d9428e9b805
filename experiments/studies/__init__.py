"""Jobs made of several runs, from nothing to a report."""
