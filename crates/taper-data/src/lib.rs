//! Image data sets, augmentation and a seeded loader
