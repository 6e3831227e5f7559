"""What a clip says about itself: what it was made from and with, who signs for that, and that a machine made it."""
