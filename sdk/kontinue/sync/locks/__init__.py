"""What clients take from each other in turn, without a coordinator: Mutex, RWMutex, Once."""
