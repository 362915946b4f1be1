"""What the cluster agrees on: the tier map, its commands, and the consensus that carries them."""
