"""How reliable is the library? What `experiments.96_reliability` measures, part by part."""
