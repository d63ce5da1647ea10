"""From files to arrays: sources, the cache of decoded images, fixed splits, augmentation."""
