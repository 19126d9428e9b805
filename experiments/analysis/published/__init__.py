"""Published results as data; `experiments.analysis.published_results` reads them."""
