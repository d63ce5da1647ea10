"""Read image files into arrays: sources, the cache of decoded images, fixed splits, augmentation."""
