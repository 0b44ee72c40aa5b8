"""What commands do with a store as a whole: stamp what a sample verified, and merge another into it."""
