"""Portrait and speech become frames and a clip. Usable as a library: nothing here imports the rest of echod."""
