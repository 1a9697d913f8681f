"""Internal. CustomResourceDefinitions: what is wrong with one, and which resources one defines."""
