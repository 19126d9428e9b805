"""World models that the authors of the papers published."""
