"""Volume rendering of tri-grids: rays, depth sampling, lookup, marching, and the plain renderer that joins them."""
