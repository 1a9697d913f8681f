"""Internal. The child side: zygote and runners, which import the user's module and run activations."""
