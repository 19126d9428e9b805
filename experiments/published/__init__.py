"""Published results as data; `experiments.published_results` reads them."""
