"""What is held: by whom, taken in turn, renewed, and kept for as long as a block lasts."""
