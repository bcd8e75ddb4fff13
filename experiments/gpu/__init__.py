"""What one CUDA card can tell in a few minutes: is every path that was written for it right, and what does it gain?"""
