"""What is asked for by an object of its own and granted by the coordinator: permits of Semaphores, Leases."""
