"""AIME: imitation from observation by maximising the evidence of demonstrations (arXiv 2312.02019, 2404.18896)."""
