"""Many runs at once: seeds and weights stacked in one loop or in processes, and one model by several processes."""
