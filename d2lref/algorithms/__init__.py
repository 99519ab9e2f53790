"""Theories that several ops share, in a notation of their own: sliding products as matrix products and by Fourier."""
